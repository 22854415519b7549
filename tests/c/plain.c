/* A plugin without Rust: answers each request with "hello from C\n".
 *
 * cc -std=c11 -shared -fPIC -I plugin-api/include -o libplain.so tests/c/plain.c
 */

#include "replug.h"

#include <stdbool.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define ARCH "x86_64"
#elif defined(__aarch64__)
#define ARCH "aarch64"
#else
#error "name this architecture"
#endif

__attribute__((section(".replug"), used)) const char REPLUG_MANIFEST_1[] =
    "REPLUG MANIFEST 1\n"
    "name=plain-c\n"
    "version=1.0.0\n"
    "abi=1.1\n"
    "rustc=\n"
    "target=" ARCH "-unknown-linux-gnu\n"
    "panic=unwind\n"
    "unload-safe=true\n";

#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1
/* What lives as long as the library is given away without a release function. */
#define STATIC_BUF(literal) (ReplugBuf){BYTES(literal), NULL, NULL}

#define HELLO "hello from C\n"
#ifdef LINKED
const char *linked_text(void);
#endif

static const ReplugHeader HEADERS[] = {
    {{BYTES("content-type")}, {BYTES("text/plain")}},
    {{BYTES("content-length")}, {BYTES("13")}},
};
_Static_assert(sizeof(HELLO) - 1 == 13, "content-length");

/* Neither the app nor a call has a state; they only must not be null. */
static char stateless;

struct body {
  bool read;
};

static ReplugStatus body_poll(void *this_, const ReplugWaker *waker, ReplugFrame *frame) {
  struct body *body = this_;
  (void)waker;
  if (body->read) return REPLUG_END;
  body->read = true;
#ifdef LINKED
  frame->data = (ReplugBuf){(const uint8_t *)linked_text(), sizeof(HELLO) - 1, NULL, NULL};
#else
  frame->data = STATIC_BUF(HELLO);
#endif
  return REPLUG_READY;
}

static const ReplugBodyTable BODY_TABLE = {sizeof(ReplugBodyTable), body_poll, free};

static ReplugStatus call_poll(void *this_, const ReplugWaker *waker, ReplugResponse *response) {
  (void)this_, (void)waker;
  struct body *body = calloc(1, sizeof *body);
  if (body == NULL) {
    response->failure.message = STATIC_BUF("out of memory");
    return REPLUG_ERROR;
  }
  response->status = 200;
  response->headers = HEADERS;
  response->header_count = sizeof(HEADERS) / sizeof(HEADERS[0]);
  response->body = (ReplugBody){body, &BODY_TABLE, sizeof(HELLO) - 1, sizeof(HELLO) - 1};
  return REPLUG_READY;
}

static void call_drop(void *this_) { (void)this_; }

static const ReplugCallTable CALL_TABLE = {sizeof(ReplugCallTable), call_poll, call_drop};

static ReplugStatus setup(const ReplugSetupArgs *args, ReplugSetupOutcome *outcome) {
  (void)args;
  outcome->app = &stateless;
  return REPLUG_READY;
}

static ReplugStatus call(void *app, ReplugRequest *request, ReplugCall *call,
                         ReplugFailure *failure) {
  (void)app, (void)failure;
  /* The body is ours from here on, and not wanted. */
  if (request->body.this_ != NULL) request->body.table->drop(request->body.this_);
  *call = (ReplugCall){&stateless, &CALL_TABLE};
  return REPLUG_READY;
}

static ReplugStatus upgrade(void *app, ReplugRequest *request, ReplugStream *stream,
                            ReplugFailure *failure) {
  (void)app, (void)request;
  stream->table->drop(stream->this_);
  failure->message = STATIC_BUF("this app speaks nothing but HTTP");
  return REPLUG_ERROR;
}

static void shutdown_begins(void *app, uint32_t reason) { (void)app, (void)reason; }

static ReplugStatus stop(void *app, const ReplugStopArgs *args, ReplugStopReport *report) {
  (void)app, (void)args, (void)report;
  return REPLUG_READY;
}

const ReplugPluginTable REPLUG_PLUGIN_1 = {
    .size = sizeof(ReplugPluginTable),
    .abi_major = REPLUG_ABI_MAJOR,
    .abi_minor = REPLUG_ABI_MINOR,
    .setup = setup,
    .call = call,
    .upgrade = upgrade,
    .shutdown = shutdown_begins,
    .stop = stop,
};
