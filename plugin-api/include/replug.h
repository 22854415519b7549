// The C ABI between Replug and a plugin. Generated from plugin-api/src/abi.rs, whose tests keep
// it so; change that file, not this one.

#ifndef REPLUG_H
#define REPLUG_H

#include <stddef.h>
#include <stdint.h>

// The symbol of a plugin's table.
#define REPLUG_PLUGIN_SYMBOL "REPLUG_PLUGIN_1"
extern const struct ReplugPluginTable REPLUG_PLUGIN_1;

// The host's, for plugins with an allocator of their own making: where the memory of the
// library at that address is to come from. NULL: from the C library.
const struct ReplugHeap *replug_heap_1(const void *address);

// A host refuses a plugin of another major version.
#define REPLUG_ABI_MAJOR 1

// A newer minor version on either side works: it only appends.
#define REPLUG_ABI_MINOR 1

// `ReplugPeer::kind`: not known.
#define REPLUG_PEER_UNKNOWN 0

// `ReplugPeer::kind`: an IPv4 address, in the first four bytes of `ReplugPeer::ip`.
#define REPLUG_PEER_IPV4 1

// `ReplugPeer::kind`: an IPv6 address.
#define REPLUG_PEER_IPV6 2

// `ReplugPeer::kind`: a Unix socket; the other fields are 0.
#define REPLUG_PEER_UNIX 3

// `ReplugSetupArgs::mode`: the plugin runs inside the host.
#define REPLUG_MODE_EMBEDDED 0

// `ReplugSetupArgs::mode`: the plugin runs in a worker process of a group.
#define REPLUG_MODE_DAEMON 1

// `ReplugStopArgs::reason` and `ReplugPluginTable::shutdown`: a newer generation serves.
#define REPLUG_REASON_RELOAD 1

// The artifact was removed.
#define REPLUG_REASON_REMOVAL 2

// The host ends.
#define REPLUG_REASON_HOST_SHUTDOWN 3

// It was started, but never served, because a later step of the reload failed.
#define REPLUG_REASON_ABANDONED 4

// It used more memory than its limit allows, and a fresh generation serves.
#define REPLUG_REASON_MEMORY_LIMIT 5

// It did worse than the one before, which serves again; or somebody asked for that.
#define REPLUG_REASON_ROLLBACK 6

// It has answered as many requests as it may, and a fresh generation serves.
#define REPLUG_REASON_MAX_REQUESTS 7

// It has served as long as it may, and a fresh generation serves.
#define REPLUG_REASON_MAX_AGE 8

// The host replaces itself.
#define REPLUG_REASON_RESTART 9

// Its worker process had no request for as long as it may, and ends until there is one.
#define REPLUG_REASON_INACTIVITY 10

// Somebody sent its worker process a signal; another worker takes its place.
#define REPLUG_REASON_SIGNAL 11

// What a polled or plain call comes back with: one of the constants below.
typedef uint32_t ReplugStatus;

// Borrowed bytes, valid for the call they are handed to unless a field says otherwise.
typedef struct ReplugSlice {
  // The first byte; may be null or dangling when `len` is 0.
  const uint8_t *ptr;
  // Length in bytes.
  size_t len;
} ReplugSlice;

// Owned bytes: whoever holds them calls `release(owner)` once when done with them.
typedef struct ReplugBuf {
  // The first byte; may be null when `len` is 0.
  const uint8_t *ptr;
  // Length in bytes.
  size_t len;
  // What `release` is called with.
  void *owner;
  // Gives the bytes back, from any thread; null when there is nothing to give back.
  void (*release)(void *owner);
} ReplugBuf;

// One header or trailer field.
typedef struct ReplugHeader {
  // The name, in lower case.
  struct ReplugSlice name;
  // The value: bytes, not necessarily UTF-8.
  struct ReplugSlice value;
} ReplugHeader;

// A key and a value of a log record, both UTF-8.
typedef struct ReplugField {
  // The key.
  struct ReplugSlice key;
  // The value, as text.
  struct ReplugSlice value;
} ReplugField;

// Why something failed.
typedef struct ReplugFailure {
  // `size_of::<Failure>()`
  size_t size;
  // For people.
  struct ReplugBuf message;
  // `file:line:column` of a panic; empty for an error.
  struct ReplugBuf location;
  // A panic's stack: addresses of the plugin's process, each as many bytes as a pointer has, the
  // innermost call first. Empty for an error, or when it is not known.
  struct ReplugBuf frames;
} ReplugFailure;

// What can be done with a `ReplugWaker`; all of it from any thread.
typedef struct ReplugWakerTable {
  // `size_of::<WakerTable>()`
  size_t size;
  // Makes an owned copy.
  struct ReplugWaker (*clone)(const struct ReplugWaker *waker);
  // Wakes and keeps the waker.
  void (*wake_by_ref)(const struct ReplugWaker *waker);
  // Ends an owned copy.
  void (*drop)(struct ReplugWaker *waker);
} ReplugWakerTable;

// A waker that the other side made. Borrowed where it is passed by pointer; `clone` makes an
// owned one.
typedef struct ReplugWaker {
  // The maker's.
  const void *data;
  // The maker's.
  const void *extra;
  // The maker's functions.
  const struct ReplugWakerTable *table;
} ReplugWaker;

// What polling a `ReplugBody` gives. The caller hands it in empty.
typedef struct ReplugFrame {
  // `size_of::<Frame>()`
  size_t size;
  // Data; owned by the caller from then on.
  struct ReplugBuf data;
  // Trailers; valid until the body is polled again or dropped.
  const struct ReplugHeader *trailers;
  // Number of trailers.
  size_t trailer_count;
  // Why it failed.
  struct ReplugFailure failure;
} ReplugFrame;

// What can be done with a `ReplugBody`; from any thread, one call at a time.
typedef struct ReplugBodyTable {
  // `size_of::<BodyTable>()`
  size_t size;
  // `REPLUG_READY` and `REPLUG_LAST`: `frame.data` is filled. `REPLUG_TRAILERS`: `frame.trailers` is. `REPLUG_LAST`,
  // `REPLUG_END`, `REPLUG_ERROR` and `REPLUG_PANICKED` are final; `REPLUG_PENDING` keeps a clone of `waker` and wakes it.
  ReplugStatus (*poll)(void *this_, const struct ReplugWaker *waker, struct ReplugFrame *frame);
  // Ends it, read to its end or not.
  void (*drop)(void *this_);
} ReplugBodyTable;

// A message body that one side owns and the other polls, frame by frame.
//
// Polling it is back-pressure, dropping it is cancellation.
typedef struct ReplugBody {
  // The owner's state; null: an empty body, and `table` is null too.
  void *this_;
  // The owner's functions.
  const struct ReplugBodyTable *table;
  // At least so many bytes of data are left.
  uint64_t lower;
  // At most so many bytes of data are left; `u64::MAX`: not known.
  uint64_t upper;
} ReplugBody;

// What can be done with a `ReplugStream`; from any thread, one call at a time.
typedef struct ReplugStreamTable {
  // `size_of::<StreamTable>()`
  size_t size;
  // Reads up to `cap` bytes into `ptr`; `REPLUG_READY` with `done` 0 is the end of the stream.
  ReplugStatus (*read)(void *this_,
                       const struct ReplugWaker *waker,
                       uint8_t *ptr,
                       size_t cap,
                       size_t *done);
  // Writes up to `len` bytes from `ptr`.
  ReplugStatus (*write)(void *this_,
                        const struct ReplugWaker *waker,
                        const uint8_t *ptr,
                        size_t len,
                        size_t *done);
  // Passes on what was written.
  ReplugStatus (*flush)(void *this_, const struct ReplugWaker *waker);
  // Ends the writing half.
  ReplugStatus (*shutdown)(void *this_, const struct ReplugWaker *waker);
  // Ends both halves.
  void (*drop)(void *this_);
} ReplugStreamTable;

// A duplex byte stream that the host owns and the plugin reads and writes: an upgraded
// connection's tunnel.
typedef struct ReplugStream {
  // The owner's state.
  void *this_;
  // The owner's functions.
  const struct ReplugStreamTable *table;
} ReplugStream;

// Who sent a request.
typedef struct ReplugPeer {
  // One of the `PEER_` constants.
  uint16_t kind;
  // The port, in the machine's byte order.
  uint16_t port;
  // IPv6 scope; 0 otherwise.
  uint32_t scope;
  // The address, in network byte order.
  uint8_t ip[16];
} ReplugPeer;

// A request. What its slices point to is valid during the call it is handed to.
typedef struct ReplugRequest {
  // `size_of::<Request>()`
  size_t size;
  // `GET` and so on.
  struct ReplugSlice method;
  // What the plugin is to route on: the request target with the mount taken off.
  struct ReplugSlice uri;
  // The request target as it came in.
  struct ReplugSlice original_uri;
  // The header fields.
  const struct ReplugHeader *headers;
  // Number of header fields.
  size_t header_count;
  // HTTP version: 9, 10, 11 or 20.
  uint32_t version;
  // Who sent it.
  struct ReplugPeer peer;
  // The host's number for this request; unique in one run of the host.
  uint64_t request_id;
  // The body; the plugin's from the call on, whatever the call comes back with.
  struct ReplugBody body;
  // What was taken off the target: one of the app's mounts. Since 1.1.
  struct ReplugSlice mount;
} ReplugRequest;

// A response's head and body. The caller hands it in empty.
typedef struct ReplugResponse {
  // `size_of::<Response>()`
  size_t size;
  // 100 to 999.
  uint32_t status;
  // Number of header fields.
  size_t header_count;
  // The header fields; valid until the call is dropped.
  const struct ReplugHeader *headers;
  // The body; owned by the caller from then on.
  struct ReplugBody body;
  // Why it failed.
  struct ReplugFailure failure;
  // With `REPLUG_LAST`: all of the body, which is empty then. Owned by the caller from then on; without
  // a release function it is valid until the call is dropped.
  struct ReplugBuf data;
} ReplugResponse;

// What can be done with a `ReplugCall`; from any thread, one call at a time.
typedef struct ReplugCallTable {
  // `size_of::<CallTable>()`
  size_t size;
  // `REPLUG_READY`: `response` is filled. `REPLUG_LAST`: so it is, with the whole body in its `data`.
  // `REPLUG_ERROR` and `REPLUG_PANICKED`: its failure is. All four are final.
  ReplugStatus (*poll)(void *this_, const struct ReplugWaker *waker, struct ReplugResponse *response);
  // Ends it; before it is ready, this is cancellation.
  void (*drop)(void *this_);
} ReplugCallTable;

// A request being answered: a future that the host polls.
typedef struct ReplugCall {
  // The plugin's state.
  void *this_;
  // The plugin's functions.
  const struct ReplugCallTable *table;
} ReplugCall;

// One log record or tracing event of a plugin. All of it is valid during the call only.
typedef struct ReplugLogRecord {
  // `size_of::<LogRecord>()`
  size_t size;
  // 1 error, 2 warn, 3 info, 4 debug, 5 trace.
  uint32_t level;
  // Source line; 0: not known.
  uint32_t line;
  // Usually the module path.
  struct ReplugSlice target;
  // The message.
  struct ReplugSlice message;
  // Source file; may be empty.
  struct ReplugSlice file;
  // The spans the event stands in, outermost first: `name{key=value}:name`.
  struct ReplugSlice spans;
  // The event's fields.
  const struct ReplugField *fields;
  // Number of fields.
  size_t field_count;
  // The request being answered; 0: none.
  uint64_t request_id;
  // The stack of a panic that nothing caught, as in `ReplugFailure::frames`.
  const size_t *frames;
  // Number of frames; 0: no panic, or not known.
  size_t frame_count;
} ReplugLogRecord;

// The memory of one generation. Lives until its library has been unmapped, and is freed with all
// that is left in it then. All functions from any thread; `align` is a power of two.
typedef struct ReplugHeap {
  // `size_of::<Heap>()`
  size_t size;
  // What the functions are called with.
  void *heap;
  // Null: there is no memory.
  uint8_t *(*alloc)(void *heap, size_t size, size_t align);
  // The same, filled with zeros.
  uint8_t *(*alloc_zeroed)(void *heap, size_t size, size_t align);
  // Null: there is no memory, and the old block is as it was.
  uint8_t *(*realloc)(void *heap, uint8_t *block, size_t old_size, size_t align, size_t new_size);
  // `size` and `align` as the block was allocated with.
  void (*free)(void *heap, uint8_t *block, size_t size, size_t align);
} ReplugHeap;

// An app's state, on its way from one generation to the next. The caller hands it in empty.
typedef struct ReplugState {
  // `size_of::<State>()`
  size_t size;
  // The version of its form: the app's own affair.
  uint32_t schema;
  // The state; owned by the caller from then on.
  struct ReplugBuf data;
  // Why there is none.
  struct ReplugFailure failure;
} ReplugState;

// What the host offers a plugin. Lives as long as the process. What came with a later version than
// 1.0 may be null: the host has no such thing.
typedef struct ReplugHostTable {
  // `size_of::<HostTable>()`
  size_t size;
  // The host's `REPLUG_ABI_MAJOR`.
  uint16_t abi_major;
  // The host's `REPLUG_ABI_MINOR`.
  uint16_t abi_minor;
  // Logs a record for the generation of that context; from any thread.
  void (*log)(uint64_t context, const struct ReplugLogRecord *record);
  // Has the app reloaded when that file or directory changes: an absolute path, as bytes. For
  // setup.
  ReplugStatus (*track)(uint64_t context, struct ReplugSlice path, struct ReplugFailure *failure);
  // Registers `(kind, key)` with a value, which is JSON, for when this generation serves. For
  // setup.
  ReplugStatus (*register_entry)(uint64_t context,
                                 struct ReplugSlice kind,
                                 struct ReplugSlice key,
                                 struct ReplugSlice value,
                                 struct ReplugFailure *failure);
  // What is registered under that kind, by all apps: a JSON array of objects with `key`, `value`
  // and `owners`, in the order of first registration. The caller owns what it gets.
  ReplugStatus (*registrations)(uint64_t context,
                                struct ReplugSlice kind,
                                struct ReplugBuf *list,
                                struct ReplugFailure *failure);
  // `REPLUG_READY` as soon as the registry's version is not `seen`: `version` is filled. `REPLUG_PENDING`
  // keeps a clone of `waker`, one for each waiter `id` that a generation makes up for itself.
  ReplugStatus (*poll_registry)(uint64_t context,
                                uint64_t id,
                                uint64_t seen,
                                const struct ReplugWaker *waker,
                                uint64_t *version);
  // The waiter of that number waits no more.
  void (*leave_registry)(uint64_t context, uint64_t id);
  // Has `ReplugPluginTable::run_schedule` called by that name each time so many milliseconds have
  // passed, while this generation serves. For setup.
  ReplugStatus (*schedule)(uint64_t context,
                           struct ReplugSlice name,
                           uint64_t every_ms,
                           struct ReplugFailure *failure);
  // What the generation before saved. Blocks while that finishes its requests; from then on
  // requests wait until setup ends. `REPLUG_READY`: `state` is filled. `REPLUG_END`: there is none. For
  // setup.
  ReplugStatus (*previous_state)(uint64_t context, struct ReplugState *state);
  // Has the app reloaded, though its file be the same. Returns at once.
  void (*request_reload)(uint64_t context);
  // Has the whole host replace itself. Returns at once.
  void (*request_restart)(uint64_t context);
} ReplugHostTable;

// What a plugin is told when it starts. Slices are valid during the call only.
typedef struct ReplugSetupArgs {
  // `size_of::<SetupArgs>()`
  size_t size;
  // What the host offers.
  const struct ReplugHostTable *host;
  // The generation's number with the host's functions. A number, so that a late call of an
  // old generation's thread finds nothing instead of freed memory.
  uint64_t context;
  // The app's name.
  struct ReplugSlice name;
  // The artifact's absolute path, as the operator wrote it (not the private copy's).
  struct ReplugSlice path;
  // Where it is mounted: `/` or `/NAME`.
  struct ReplugSlice mount;
  // The process group; empty in embedded mode.
  struct ReplugSlice group;
  // The app's settings: a JSON object.
  struct ReplugSlice settings;
  // The generation's number, from 1.
  uint64_t generation;
  // One of the `MODE_` constants.
  uint32_t mode;
  // The worker's number in its group, from 0.
  uint32_t worker;
  // The most detailed log level that the host wants, 0 (none) to 5 (trace).
  uint32_t max_level;
} ReplugSetupArgs;

// How a plugin's start ended. The caller hands it in empty.
typedef struct ReplugSetupOutcome {
  // `size_of::<SetupOutcome>()`
  size_t size;
  // The app; set when the status is `REPLUG_READY`.
  void *app;
  // Why it failed.
  struct ReplugFailure failure;
  // When it failed: threads of its runtime that are still running, so that the library must
  // stay mapped.
  uint32_t threads_left;
} ReplugSetupOutcome;

// How a plugin is to stop.
typedef struct ReplugStopArgs {
  // `size_of::<StopArgs>()`
  size_t size;
  // One of the `REASON_` constants.
  uint32_t reason;
  // Time for all cleanup hooks together, and again for the runtime's threads to end, in
  // milliseconds.
  uint64_t timeout_ms;
} ReplugStopArgs;

// How a plugin stopped. The caller hands it in empty.
typedef struct ReplugStopReport {
  // `size_of::<StopReport>()`
  size_t size;
  // Cleanup hooks that ran to their end.
  uint32_t hooks_done;
  // Cleanup hooks that panicked or ran out of time; each is logged by name.
  uint32_t hooks_failed;
  // Threads of the plugin's runtime that did not end in time.
  uint32_t threads_left;
} ReplugStopReport;

// The bounds of `ReplugPluginTable::save_state`.
typedef struct ReplugSaveArgs {
  // `size_of::<SaveArgs>()`
  size_t size;
  // At most so many bytes are taken.
  uint64_t limit;
  // Time for it, in milliseconds.
  uint64_t timeout_ms;
} ReplugSaveArgs;

// What can be done with a `ReplugTask`; from any thread, one call at a time.
typedef struct ReplugTaskTable {
  // `size_of::<TaskTable>()`
  size_t size;
  // `REPLUG_READY`: it has ended. `REPLUG_ERROR` and `REPLUG_PANICKED`: `failure` says how it failed. All three
  // are final.
  ReplugStatus (*poll)(void *this_, const struct ReplugWaker *waker, struct ReplugFailure *failure);
  // Lets go of it; before it has ended, this aborts it.
  void (*drop)(void *this_);
} ReplugTaskTable;

// Something that runs on the plugin's runtime, and that the host waits for.
typedef struct ReplugTask {
  // The plugin's state.
  void *this_;
  // The plugin's functions.
  const struct ReplugTaskTable *table;
} ReplugTask;

// What a plugin exports under `REPLUG_PLUGIN_SYMBOL`. Lives as long as the library.
typedef struct ReplugPluginTable {
  // `size_of::<PluginTable>()`
  size_t size;
  // The plugin's `REPLUG_ABI_MAJOR`.
  uint16_t abi_major;
  // The plugin's `REPLUG_ABI_MINOR`.
  uint16_t abi_minor;
  // Starts the app; called once, on a thread of its own, and may take its time.
  ReplugStatus (*setup)(const struct ReplugSetupArgs *args, struct ReplugSetupOutcome *outcome);
  // Takes a request; from any thread, many at a time. `REPLUG_READY`: `call` is filled. Never
  // blocks.
  ReplugStatus (*call)(void *app,
                       struct ReplugRequest *request,
                       struct ReplugCall *call,
                       struct ReplugFailure *failure);
  // Takes an upgrade request: HTTP/1.1 is spoken on `stream`, the request head first; the
  // stream is the plugin's from then on. `request` says what the bytes cannot (peer, request
  // id, original target); its method, headers and body are empty. `REPLUG_READY`: taken.
  ReplugStatus (*upgrade)(void *app,
                          struct ReplugRequest *request,
                          struct ReplugStream *stream,
                          struct ReplugFailure *failure);
  // Tells the app that draining has begun. Never blocks.
  void (*shutdown)(void *app, uint32_t reason);
  // Runs the cleanup hooks, ends the runtime and frees the app; called once, after the last
  // call, body and stream has been dropped, on a thread of its own.
  ReplugStatus (*stop)(void *app, const struct ReplugStopArgs *args, struct ReplugStopReport *report);
  // Saves the app's state, for the next generation. On a thread of its own, and may take its
  // time; while no request is in flight, as a rule; and maybe again later, when the next
  // generation did not come to serve. `REPLUG_READY`: `state` is filled. `REPLUG_END`: the app saves none.
  ReplugStatus (*save_state)(void *app, const struct ReplugSaveArgs *args, struct ReplugState *state);
  // Begins what was announced by `ReplugHostTable::schedule` under that name, on the plugin's own
  // runtime. `REPLUG_READY`: `task` is filled. Never blocks.
  ReplugStatus (*run_schedule)(void *app,
                               struct ReplugSlice name,
                               struct ReplugTask *task,
                               struct ReplugFailure *failure);
} ReplugPluginTable;

// Not ready; the waker handed in is woken when polling again makes sense.
#define REPLUG_PENDING 0

// Done; the out message is filled.
#define REPLUG_READY 1

// A body's last frame has been delivered before.
#define REPLUG_END 2

// The frame holds trailers; nothing but `REPLUG_END` follows.
#define REPLUG_TRAILERS 3

// It failed; the out message's `ReplugFailure` says why.
#define REPLUG_ERROR 4

// The other side's code panicked; the `ReplugFailure` has message and location.
#define REPLUG_PANICKED 5

// As `REPLUG_READY`, and nothing follows: a body's last frame, or a response with all of its body.
#define REPLUG_LAST 6

#endif  /* REPLUG_H */
