# An application: it connects at once, and does not try again.
import socket
import sys

host, port = sys.argv[1:]
print(f"connecting to {host}:{port}", flush=True)
try:
    connection = socket.create_connection((host, port))
except OSError as error:
    sys.exit(f"cannot connect: {error}")
print("connected", flush=True)
print(f"the upstream says {connection.makefile().readline().strip()}", flush=True)
