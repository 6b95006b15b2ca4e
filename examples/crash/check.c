// Accepts the settings if they are wholly the old or wholly the new ones, and the new ones if `save` said "saved".
// Usage: check OLD NEW, with what `save` said on standard input
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    char text[256] = "", said[16] = "";
    FILE *file = fopen("/etc/app.conf", "r");
    if (!file) {
        puts("the settings are gone");
        return 1;
    }
    size_t len = fread(text, 1, sizeof text - 1, file);
    int is_saved = fgets(said, sizeof said, stdin) && strcmp(said, "saved\n") == 0;
    int is_new = len == strlen(argv[2]) && memcmp(text, argv[2], len) == 0;
    int is_old = len == strlen(argv[1]) && memcmp(text, argv[1], len) == 0;
    if (is_new || (is_old && !is_saved))
        return 0;
    if (is_old)
        puts("it said \"saved\", but the settings are the old ones");
    else
        printf("the settings are neither old nor new: %zu bytes, \"%s\"\n", len, text);
    return 1;
}
