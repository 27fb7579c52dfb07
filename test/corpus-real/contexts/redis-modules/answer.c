// The module interface of redis as far as one command needs it: the server hands out its functions by name.
#include <stddef.h>

typedef struct Context Context;
typedef struct String String;
typedef int Command(Context *, String **, int);

static int (*getApi)(const char *, void *);
static int (*replyWithLongLong)(Context *, long long);
static int (*createCommand)(Context *, const char *, Command, const char *, int, int, int);
static void (*setModuleAttribs)(Context *, const char *, int, int);

static int answer(Context *context, String **argv, int argc) { return replyWithLongLong(context, 42); }

int RedisModule_OnLoad(Context *context, String **argv, int argc) {
  getApi = ((void **)context)[0];
  getApi("RedisModule_ReplyWithLongLong", &replyWithLongLong);
  getApi("RedisModule_CreateCommand", &createCommand);
  getApi("RedisModule_SetModuleAttribs", &setModuleAttribs);
  setModuleAttribs(context, "answer", 1, 1);
  return createCommand(context, "answer", answer, "readonly", 0, 0, 0);
}
