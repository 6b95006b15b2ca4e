// A shop's books in SQLite: transactions that hold, that are taken back and that are cut off in the middle.
// Usage: shop work VFS JOURNAL   keeps books, says what is in them
//        shop crash              leaves a transaction half written, with the journal that takes it back
//        shop recover            says what is in the books
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

static sqlite3 *db;

static void fail(const char *what) {
    printf("%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static void do_sql(const char *sql) {
    if (sqlite3_exec(db, sql, 0, 0, 0) != SQLITE_OK)
        fail(sql);
}

static int show(void *what, int columns, char **values, char **names) {
    (void)names;
    printf("%s:", (const char *)what);
    for (int i = 0; i < columns; i++)
        printf(" %s", values[i] ? values[i] : "NULL");
    puts("");
    return 0;
}

static void ask(const char *sql) {
    if (sqlite3_exec(db, sql, show, (void *)sql, 0) != SQLITE_OK)
        fail(sql);
}

static void open_db(const char *vfs) {
    if (sqlite3_open_v2("/db/shop.sqlite", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs) != SQLITE_OK)
        fail("open");
}

static void report(void) {
    ask("SELECT count(*), sum(price), sum(length(text)) FROM item");
    ask("SELECT name, price FROM item WHERE price BETWEEN 300 AND 310 ORDER BY name");
    ask("SELECT count(*) FROM sale JOIN item USING (id) WHERE item.price < 500");
    ask("PRAGMA integrity_check");
    ask("PRAGMA foreign_key_check");
    ask("PRAGMA page_count");
}

static void fill_shop(void) {
    do_sql("BEGIN;"
           "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price INTEGER, text TEXT);"
           "CREATE INDEX by_price ON item (price);"
           "CREATE TABLE sale (day INTEGER, id INTEGER REFERENCES item);");
    sqlite3_stmt *insert;
    if (sqlite3_prepare_v2(db, "INSERT INTO item VALUES (?, ?, ?, hex(zeroblob(?)))", -1, &insert, 0) != SQLITE_OK)
        fail("prepare");
    for (int id = 0; id < 2000; id++) {
        char name[32];
        snprintf(name, sizeof name, "item %d", id * 7919 % 2000);
        sqlite3_bind_int(insert, 1, id);
        sqlite3_bind_text(insert, 2, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int(insert, 3, id * 31 % 997);
        sqlite3_bind_int(insert, 4, id % 10 == 0 ? 5000 : 20);
        if (sqlite3_step(insert) != SQLITE_DONE)
            fail("insert");
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    do_sql("COMMIT");
}

static int work(const char *vfs, const char *journal) {
    char sql[128];
    open_db(vfs);
    // A log needs memory that processes share, unless there is only one of them.
    if (strcmp(journal, "wal") == 0)
        do_sql("PRAGMA locking_mode = EXCLUSIVE");
    snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s", journal);
    ask(sql);
    fill_shop();
    report();
    for (int day = 0; day < 100; day++) {
        snprintf(sql, sizeof sql, "BEGIN; INSERT INTO sale SELECT %d, id FROM item WHERE id %% 100 = %d;", day, day);
        do_sql(sql);
        do_sql("UPDATE item SET price = price + 1 WHERE id IN (SELECT id FROM sale)");
        // Every fifth day does not count.
        do_sql(day % 5 == 0 ? "ROLLBACK" : "COMMIT");
    }
    report();
    do_sql("BEGIN; SAVEPOINT inner_one; DELETE FROM sale; ROLLBACK TO inner_one; DELETE FROM sale WHERE day < 50; COMMIT");
    if (sqlite3_exec(db, "INSERT INTO item VALUES (5000, 'item 1', 1, 'twice')", 0, 0, 0) != SQLITE_CONSTRAINT)
        fail("a name twice");
    report();
    do_sql("DELETE FROM item WHERE id % 3 = 0 AND id NOT IN (SELECT id FROM sale)");
    do_sql("VACUUM");
    report();
    // What a journal that stays has in it is random.
    ask("PRAGMA journal_mode = delete");
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}

static int crash(void) {
    open_db("unix-none");
    fill_shop();
    report();
    fflush(stdout);
    do_sql("PRAGMA cache_size = 10");
    do_sql("BEGIN; UPDATE item SET price = -1, text = hex(zeroblob(400)); DELETE FROM item WHERE id < 1000");
    if (sqlite3_db_cacheflush(db) != SQLITE_OK)
        fail("flush");
    _Exit(3);
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "work") == 0)
        return work(argv[2], argv[3]);
    if (argc > 1 && strcmp(argv[1], "crash") == 0)
        return crash();
    open_db("unix-none");
    report();
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}
