# A pod's proxy, as far as an agent and an application see one: it listens at once and says 503 until a line on stdin tells it
# to be ready. Then it says when it first said 200 (CLOCK_MONOTONIC, ns), and how many connections it had by then.
import select, socket, sys, time

admin, capture = (socket.create_server(("127.0.0.1", int(port)), backlog=64) for port in sys.argv[1:])
capture.setblocking(False)
print("listens", flush=True)
kept, told, said = [], False, False


def accept():
    try:
        while True:
            kept.append(capture.accept()[0])
    except BlockingIOError:
        pass


while True:
    ready, _, _ = select.select([admin, capture] + [sys.stdin] * (not told), [], [])
    if sys.stdin in ready:
        told = bool(sys.stdin.readline())
    accept()
    if admin in ready:
        asking, _ = admin.accept()
        asking.recv(1024)
        status = "200 OK" if told else "503 Service Unavailable"
        if told and not said:
            said = True
            accept()
            print(time.monotonic_ns(), len(kept), flush=True)
        try:
            asking.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        except OSError:
            pass  # Who asked has given up.
        asking.close()
