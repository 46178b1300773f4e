# What an ordinary user does in a hostile pod, by the attack's name. Says "begun" when it bears on the agent, and "ended" where
# there is an end; "lacks …" where the machine cannot do it.
import ctypes, fcntl, os, resource, select, signal, socket, struct, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
CAPTURE = ("127.0.0.1", 15001)
NEWUSER, NEWNET, SET_DUMPABLE, SIOCSIFFLAGS = 0x10000000, 0x40000000, 4, 0x8914


def say(word):
    print(word, flush=True)


def apart():
    """In a user and a network namespace of its own."""
    libc.prctl(SET_DUMPABLE, 1)  # setuid() took its own /proc/self from it.
    assert libc.unshare(NEWUSER | NEWNET) == 0, os.strerror(ctypes.get_errno())
    for name, text in ("setgroups", "deny"), ("uid_map", "0 1000 1"), ("gid_map", "0 1000 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", 1))


def connect(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setblocking(False)
        one.connect_ex(CAPTURE)
    return sockets


def wait_all_ended(sockets):
    poll = select.poll()
    for one in sockets:
        poll.register(one, select.POLLOUT)
    left = len(sockets)
    while left:
        for number, _ in poll.poll():
            poll.unregister(number)
            left -= 1


def sleepers(count):
    for _ in range(count):
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "infinity"])


def queue(*discipline):
    """A loopback that lets next to nothing out."""
    apart()
    done = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", *discipline], stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return say(f"lacks {discipline[0]}: {done.stderr.strip()}")
    held = connect(1000)
    say("begun")
    return held


def rules(restore):
    """Each packet passes 20,000 rules with 15 comparisons each: 200 times a chain of 100."""
    apart()
    held = connect(2000)
    rule = f"-A SLOW -p tcp -m multiport --dports {','.join(map(str, range(1, 16)))} -j ACCEPT"
    text = "\n".join(["*filter", ":SLOW - [0:0]", *[rule] * 100, *["-A OUTPUT -j SLOW"] * 200, "COMMIT", ""])
    environment = {**os.environ, "XTABLES_LOCKFILE": "/lock"}
    done = subprocess.run([restore], input=text, text=True, stderr=subprocess.PIPE, env=environment)
    if done.returncode != 0:
        return say(f"lacks {restore}: {done.stderr.strip()}")
    say("begun")
    return held


def main_thread():
    """A thousand processes, and a thousand connections of one whose main thread has ended: legal, and hard to look at."""
    sleepers(1000)

    def work():
        while ") Z " not in open(f"/proc/{os.getpid()}/stat").read():
            pass
        held = connect(1000)
        say("begun")
        signal.pause()
        return held

    threading.Thread(target=work).start()
    sys.stdout.flush()
    libc.syscall({"x86_64": 60}.get(os.uname().machine, 93), 0)  # exit(2): of this thread alone


def refused(count, processes):
    sleepers(processes)
    sockets = connect(count)
    say("begun")
    wait_all_ended(sockets)
    say("ended")


def namespaces(count):
    """A held connection in each of so many namespaces."""
    made, make = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            apart()
            held = connect(1)
            os.write(make, b".")
            signal.pause()
    while count:
        count -= len(os.read(made, count))
    say("begun")


def flood():
    """listen() and close() without end, at every port that is watched; ready whenever asked."""
    admin = socket.create_server(("127.0.0.1", 15020), backlog=64)
    made, make = os.pipe()
    for _ in range(2):
        if os.fork() == 0:
            for number in range(sys.maxsize):
                listeners = []
                for at in range(64):
                    listener = socket.socket()
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    listener.bind(("127.0.0.2", (15001, 15053, 4140, 8600)[at % 4]))
                    listener.listen(1)
                    listeners.append(listener)
                for listener in listeners:
                    listener.close()
                if number in (0, 2000):
                    os.write(make, b".")
    begun = 0
    while True:
        for ready in select.select([admin, made], [], [])[0]:
            if ready is made:
                begun += len(os.read(made, 1))
                if begun in (2, 4):
                    say("begun" if begun == 2 else "ended")
                continue
            asking, _ = admin.accept()
            asking.recv(1024)
            asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            asking.close()


ATTACKS = {
    "tbf": lambda: queue(*"tbf rate 8kbit burst 1600 limit 100000000".split()),
    "netem": lambda: queue(*"netem delay 200s limit 100000".split()),
    "nft": lambda: rules("iptables-nft-restore"),
    "iptables": lambda: rules("iptables-legacy-restore"),
    "main-thread": main_thread,
    "exempt": lambda: refused(4000, 1000),
    "untold": lambda: refused(8000, 0),
    "namespaces": lambda: namespaces(400),
    "flood": flood,
}

resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
kept = ATTACKS[sys.argv[1]]()
while True:
    signal.pause()
