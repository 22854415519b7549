/* A plugin that asks its host for what cannot be, in ways that no Rust code could, and does not set
 * up if the host does anything but refuse it. What is odd about it besides is said by -D:
 * NO_UPGRADE, NO_CALL and NO_TASK.
 */

#define REPLUG_PLUGIN_1 PLAIN
#include "plain.c"
#undef REPLUG_PLUGIN_1

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static const ReplugHostTable *host;
static uint64_t context;
static char complaints[2048];

static void complain(const char *what) {
  size_t used = strlen(complaints);
  snprintf(complaints + used, sizeof(complaints) - used, "%s; ", what);
}

static void release(ReplugBuf *buf) {
  if (buf->release != NULL) buf->release(buf->owner);
}

static const ReplugFailure NO_FAILURE = {.size = sizeof(ReplugFailure)};

/* It must be refused, with a reason that has that in it. */
static void refused(const char *what, ReplugStatus status, ReplugFailure *failure,
                    const char *part) {
  char reason[256] = "";
  size_t len = failure->message.len < sizeof(reason) - 1 ? failure->message.len : sizeof(reason) - 1;
  if (len > 0) memcpy(reason, failure->message.ptr, len);
  if (status != REPLUG_ERROR || strstr(reason, part) == NULL) {
    char text[512];
    snprintf(text, sizeof(text), "%s came to %u: %s", what, status, reason);
    complain(text);
  }
  release(&failure->message);
  release(&failure->location);
  release(&failure->frames);
  *failure = NO_FAILURE;
}

#define SLICE(literal) (ReplugSlice){BYTES(literal)}

static void ask_for_nonsense(void) {
  ReplugFailure failure = NO_FAILURE;
  ReplugSlice empty = {NULL, 0}, kind = SLICE("odd"), one = SLICE("1");
#define REGISTER(kind, key, value, part) \
  refused("register " #key " = " #value, \
          host->register_entry(context, kind, key, value, &failure), &failure, part)
  REGISTER(kind, SLICE("k"), empty, "no JSON");
  REGISTER(kind, SLICE("k"), SLICE("{"), "no JSON");
  REGISTER(kind, SLICE("k"), SLICE("1 2"), "no JSON");
  REGISTER(kind, SLICE("k"), SLICE("\"\xff\""), "no JSON");
  REGISTER(kind, SLICE("k"), SLICE("1e999"), "no JSON");
  REGISTER(kind, empty, one, "key");
  REGISTER(empty, one, one, "kind");
  /* And no control character goes from there to a log. */
  REGISTER(kind, SLICE("nul\0within"), one, "nul\\0within");
  REGISTER(kind, SLICE("line\nwithin"), one, "line\\nwithin");
  REGISTER(kind, SLICE("\xff\xfe"), one, "UTF-8");
  REGISTER(SLICE("schedule"), SLICE("k"), one, "schedule");
  REGISTER(SLICE("route"), SLICE("no mount"), one, "");
  size_t much = 100 << 10;
  char *text = malloc(much);
  if (text == NULL) return complain("no memory");
  memset(text, '[', much);
  ReplugSlice long_text = {(const uint8_t *)text, much};
  REGISTER(kind, SLICE("deep"), long_text, "no JSON");
  memset(text, 'k', much);
  REGISTER(kind, long_text, one, "key");
  REGISTER(long_text, one, one, "kind");
  refused("a schedule of 100 KiB", host->schedule(context, long_text, 1000, &failure), &failure,
          "name");
  text[0] = text[much - 1] = '"';
  REGISTER(kind, SLICE("long"), long_text, "bytes");
  free(text);
  refused("a schedule of no time", host->schedule(context, SLICE("zero"), 0, &failure), &failure,
          "shortest");
  refused("a schedule without a name", host->schedule(context, empty, 1, &failure), &failure,
          "name");
  refused("tracking nothing", host->track(context, empty, &failure), &failure, "absolute");
  refused("tracking a relative path", host->track(context, SLICE("x"), &failure), &failure,
          "absolute");
  /* Nobody has these numbers. */
  refused("another's context", host->track(0, SLICE("/"), &failure), &failure, "over");
  refused("another's context", host->track(UINT64_MAX, SLICE("/"), &failure), &failure, "over");
  host->leave_registry(context, 77);
  host->leave_registry(UINT64_MAX, 77);
  host->request_reload(UINT64_MAX);
  host->request_restart(UINT64_MAX);
}

static void *ask_for_the_state(void *end) {
  ReplugState state = {.size = sizeof(ReplugState), .failure = NO_FAILURE};
  *(ReplugStatus *)end = host->previous_state(context, &state);
  release(&state.data);
  release(&state.failure.message);
  return NULL;
}

/* Twice on this thread, and on two others at once. */
static void ask_for_the_state_often(void) {
  ReplugStatus ends[4];
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, ask_for_the_state, &ends[i]) != 0) return complain("no thread");
  }
  ask_for_the_state(&ends[2]);
  ask_for_the_state(&ends[3]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  for (int i = 1; i < 4; i++) {
    if (ends[i] != ends[0]) complain("the previous state differs from itself");
  }
}

static atomic_bool ending, once;
static pthread_t late;

/* Goes on for as long as the app does, and asks for what is for setup. Setup may not be over when it
 * begins; then it is by the time when the app stops. */
static void *ask_late(void *unused) {
  (void)unused;
  ReplugFailure failure = NO_FAILURE;
  bool last;
  do {
    last = atomic_load(&ending);
    ReplugStatus status = host->track(context, SLICE("/dev/null"), &failure);
    if (last) refused("tracking when all is over", status, &failure, "setup, which is over");
    release(&failure.message);
    failure = NO_FAILURE;
    status = host->schedule(context, SLICE("tick"), 5, &failure);
    if (last) refused("scheduling when all is over", status, &failure, "setup, which is over");
    release(&failure.message);
    failure = NO_FAILURE;
    ReplugStatus end;
    ask_for_the_state(&end);
    if (last && end != REPLUG_ERROR) complain("there is a previous state when all is over");
    ReplugBuf list = {NULL, 0, NULL, NULL};
    if (host->registrations(context, SLICE("odd"), &list, &failure) != REPLUG_READY) {
      complain("nothing can be read late");
    }
    release(&list);
    atomic_store(&once, true);
  } while (!last);
  return NULL;
}

static ReplugStatus odd_setup(const ReplugSetupArgs *args, ReplugSetupOutcome *outcome) {
  host = args->host;
  context = args->context;
  outcome->app = &stateless;
  ReplugFailure failure = NO_FAILURE;
  ask_for_nonsense();
  if (host->schedule(context, SLICE("tick"), 5, &failure) != REPLUG_READY ||
      host->schedule(context, SLICE("rare"), UINT64_MAX, &failure) != REPLUG_READY) {
    complain("no schedule");
  }
  ask_for_the_state_often();
  if (complaints[0] != 0) {
    outcome->failure.message = (ReplugBuf){(const uint8_t *)complaints, strlen(complaints), NULL, NULL};
    return REPLUG_ERROR;
  }
  if (pthread_create(&late, NULL, ask_late, NULL) != 0) return REPLUG_ERROR;
  while (!atomic_load(&once)) sched_yield();
  return REPLUG_READY;
}

static ReplugStatus odd_stop(void *app, const ReplugStopArgs *args, ReplugStopReport *report) {
  (void)app, (void)args;
  atomic_store(&ending, true);
  pthread_join(late, NULL);
  if (complaints[0] == 0) {
    report->hooks_done = 1;
  } else {
    report->hooks_failed = 1;
  }
  return REPLUG_READY;
}

#ifdef NO_TASK
static ReplugStatus run_schedule(void *app, ReplugSlice name, ReplugTask *task,
                                 ReplugFailure *failure) {
  (void)app, (void)name, (void)task, (void)failure;
  return REPLUG_READY;
}
#else
static ReplugStatus task_poll(void *this_, const ReplugWaker *waker, ReplugFailure *failure) {
  (void)this_, (void)waker, (void)failure;
  return REPLUG_READY;
}

static void task_drop(void *this_) { (void)this_; }

static const ReplugTaskTable TASK_TABLE = {sizeof(ReplugTaskTable), task_poll, task_drop};

static ReplugStatus run_schedule(void *app, ReplugSlice name, ReplugTask *task,
                                 ReplugFailure *failure) {
  (void)app, (void)name, (void)failure;
  *task = (ReplugTask){&stateless, &TASK_TABLE};
  return REPLUG_READY;
}
#endif

/* A status that is for other calls: no state, and no reason. */
static ReplugStatus save_state(void *app, const ReplugSaveArgs *args, ReplugState *state) {
  (void)app, (void)args, (void)state;
  return REPLUG_END;
}

#ifdef NO_CALL
static ReplugStatus no_call(void *app, ReplugRequest *request, ReplugCall *call,
                            ReplugFailure *failure) {
  (void)app, (void)call, (void)failure;
  if (request->body.this_ != NULL) request->body.table->drop(request->body.this_);
  return REPLUG_READY;
}
#endif

const ReplugPluginTable REPLUG_PLUGIN_1 = {
    .size = sizeof(ReplugPluginTable),
    .abi_major = REPLUG_ABI_MAJOR,
    .abi_minor = REPLUG_ABI_MINOR,
    .setup = odd_setup,
#ifdef NO_CALL
    .call = no_call,
#else
    .call = call,
#endif
#ifndef NO_UPGRADE
    .upgrade = upgrade,
#endif
    .shutdown = shutdown_begins,
    .stop = odd_stop,
    .save_state = save_state,
    .run_schedule = run_schedule,
};
