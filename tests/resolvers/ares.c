/* As gai.c, with c-ares, both families at once. */
#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>

static void ended(void *unused, int status, int timeouts, struct ares_addrinfo *found) {
    (void)unused, (void)timeouts;
    printf("%s\n", status == ARES_SUCCESS && found->nodes ? "answered" : ares_strerror(status));
    if (found) ares_freeaddrinfo(found);
}

int main(int argc, char **argv) {
    if (argc != 2 || ares_library_init(ARES_LIB_INIT_ALL)) return 2;
    ares_channel channel;
    if (ares_init(&channel)) return 2;
    struct ares_addrinfo_hints hints;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    puts("started");
    fflush(stdout);
    getchar();
    ares_getaddrinfo(channel, argv[1], "80", &hints, ended, NULL);
    for (;;) {
        fd_set readable, writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        int most = ares_fds(channel, &readable, &writable);
        if (most == 0) break;
        struct timeval room, *left = ares_timeout(channel, NULL, &room);
        select(most, &readable, &writable, NULL, left);
        ares_process(channel, &readable, &writable);
    }
    ares_destroy(channel);
    return 0;
}
