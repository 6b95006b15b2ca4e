// Inserts rows into a database, each in a transaction of its own, and says what is in it then.
// Usage: inserts COUNT
#include <stdio.h>
#include <stdlib.h>

#include "sqlite3.h"

static sqlite3 *db;

static void check(int code, int expected) {
    if (code != expected) {
        printf("%s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 100;
    check(sqlite3_open_v2("/db/inserts.sqlite", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix-dotfile"),
          SQLITE_OK);
    check(sqlite3_exec(db, "CREATE TABLE row (id INTEGER PRIMARY KEY, name TEXT UNIQUE)", 0, 0, 0), SQLITE_OK);
    sqlite3_stmt *insert;
    check(sqlite3_prepare_v2(db, "INSERT INTO row VALUES (?, 'name ' || ?)", -1, &insert, 0), SQLITE_OK);
    for (int id = 0; id < count; id++) {
        check(sqlite3_bind_int(insert, 1, id), SQLITE_OK);
        check(sqlite3_bind_int(insert, 2, id * 7919 % count), SQLITE_OK);
        check(sqlite3_step(insert), SQLITE_DONE);
        check(sqlite3_reset(insert), SQLITE_OK);
    }
    check(sqlite3_finalize(insert), SQLITE_OK);
    sqlite3_stmt *ask;
    check(sqlite3_prepare_v2(db, "SELECT count(*), max(name) FROM row", -1, &ask, 0), SQLITE_OK);
    check(sqlite3_step(ask), SQLITE_ROW);
    printf("%d rows, the last is %s\n", sqlite3_column_int(ask, 0), (const char *)sqlite3_column_text(ask, 1));
    check(sqlite3_finalize(ask), SQLITE_OK);
    return sqlite3_close(db);
}
