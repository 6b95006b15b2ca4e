// Moves money between accounts in SQLite, and says after each transaction that it is done.
// Usage: bank run JOURNAL SYNCHRONOUS COUNT
//        bank check SLACK, with what `run` said on standard input: all of it but SLACK transactions must be there
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

#define ACCOUNTS 50
#define BALANCE 1000

static sqlite3 *db;

static void fail(const char *what) {
    printf("%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static void do_sql(const char *sql) {
    if (sqlite3_exec(db, sql, 0, 0, 0) != SQLITE_OK)
        fail(sql);
}

// The first column of the first row as a number, or -1 if it is not there.
static long long number(const char *sql) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, 0) != SQLITE_OK)
        return -1;
    int step = sqlite3_step(statement);
    long long found = step == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        fail(sql);
    sqlite3_finalize(statement);
    return found;
}

static void open_db(int is_exclusive) {
    // Locks of other processes would outlive a power cut, and there are none.
    if (sqlite3_open_v2("/db/bank.sqlite", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix-none") != SQLITE_OK)
        fail("open");
    // Write-ahead logs need memory that processes share, unless there is only one. Journals are not removed then.
    if (is_exclusive)
        do_sql("PRAGMA locking_mode = EXCLUSIVE");
}

static int run(const char *journal, const char *synchronous, int count) {
    char sql[256];
    open_db(strcmp(journal, "wal") == 0);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s; PRAGMA synchronous = %s", journal, synchronous);
    do_sql(sql);
    do_sql("BEGIN; CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, pad TEXT);"
           "CREATE TABLE log (n INTEGER PRIMARY KEY)");
    for (int id = 0; id < ACCOUNTS; id++) {
        snprintf(sql, sizeof sql, "INSERT INTO account VALUES (%d, %d, hex(zeroblob(200)))", id, BALANCE);
        do_sql(sql);
    }
    do_sql("COMMIT");
    puts("0");
    fflush(stdout);
    for (int n = 1; n <= count; n++) {
        snprintf(sql, sizeof sql,
                 "BEGIN; UPDATE account SET balance = balance - %d WHERE id = %d;"
                 "UPDATE account SET balance = balance + %d WHERE id = %d; INSERT INTO log VALUES (%d); COMMIT",
                 n, n * 7 % ACCOUNTS, n, (n * 13 + 1) % ACCOUNTS, n);
        do_sql(sql);
        printf("%d\n", n);
        fflush(stdout);
    }
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}

static int check(int slack) {
    char line[32];
    long long said = -1;
    while (fgets(line, sizeof line, stdin))
        said = atoll(line);
    open_db(1);
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, 0) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        fail("integrity_check");
    const char *verdict = (const char *)sqlite3_column_text(statement, 0);
    if (strcmp(verdict, "ok") != 0) {
        printf("integrity: %s\n", verdict);
        return 1;
    }
    sqlite3_finalize(statement);
    long long done = number("SELECT coalesce(max(n), 0) FROM log");
    if (done < said - slack) {
        printf("it said that %lld transactions were done, but there are %lld\n", said, done);
        return 1;
    }
    if (done < 0)
        return 0;
    long long total = number("SELECT sum(balance) FROM account"), count = number("SELECT count(*) FROM log");
    if (total != ACCOUNTS * BALANCE || count != done) {
        printf("half a transaction: %lld in all accounts, %lld of %lld transactions\n", total, count, done);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "run") == 0)
        return run(argv[2], argv[3], atoi(argv[4]));
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(atoi(argv[2]));
    return 2;
}
