# A mesh's proxy as far as DNS concerns it: a ready endpoint on 15021, a listener on 15001, and a DNS server on 15053, UDP and TCP.
# Arguments: after how many seconds it is ready ("never": it is but the DNS server), after how many more its DNS server is bound over UDP, and the names that there
# are (an A record each); every other name does not exist. Time begins with a line on stdin. Says "ready", "bound", and
# "udp NAME" or "tcp NAME" for each question.
import socket, sys, threading, time

is_proxy, bound_after, names = sys.argv[1] != "never", float(sys.argv[2]), sys.argv[3:]


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(query, way):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    end = at + 5
    name, kind = ".".join(labels), query[at + 1 : at + 3]
    say(f"{way} {name}")
    found = [b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([198, 51, 100, 10])] if name in names and kind == b"\0\1" else []
    flags = b"\x81\x80" if name in names else b"\x81\x83"
    counts = b"\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
    return query[:2] + flags + counts + query[12:end] + b"".join(found)


def over_udp(server):
    while True:
        query, peer = server.recvfrom(4096)
        server.sendto(answer(query, "udp"), peer)


def over_tcp(connection):
    with connection, connection.makefile("rwb") as stream:
        while length := stream.read(2):
            reply = answer(stream.read(int.from_bytes(length, "big")), "tcp")
            stream.write(len(reply).to_bytes(2, "big") + reply)
            stream.flush()


def http(connection):
    with connection:
        connection.recv(4096)
        status = "200 OK" if ready else "503 Service Unavailable"
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def accept(server, serve):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def start(work, *arguments):
    threading.Thread(target=work, args=arguments, daemon=True).start()


FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def listen(port, serve):
    for family, address in FAMILIES:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(128)
        start(accept, server, serve)


def bind():
    servers = [socket.socket(family, socket.SOCK_DGRAM) for family, _ in FAMILIES]
    for server, (_, address) in zip(servers, FAMILIES):
        server.bind((address, 15053))
    say("bound")
    for server in servers:
        start(over_udp, server)


ready = False
if is_proxy:
    listen(15021, http)
listen(15053, over_tcp)
if bound_after == 0:
    bind()
say("started")
sys.stdin.readline()
if is_proxy:
    time.sleep(float(sys.argv[1]))
    ready = True
    listen(15001, lambda connection: connection.close())
    say("ready")
if bound_after:
    time.sleep(bound_after)
    bind()
sys.stdin.readline()
