/* Looks a name up with the C library's own resolver, when told by a line on stdin, and says how that ended. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    struct addrinfo hints, *found = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    puts("started");
    fflush(stdout);
    getchar();
    int error = getaddrinfo(argv[1], "80", &hints, &found);
    printf("%s\n", error ? gai_strerror(error) : "answered");
    return 0;
}
