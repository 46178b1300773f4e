# The usual remedy: the application is started only after the proxy says that it is ready.
ready() {
    {
        printf 'GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        read -r _ status _ <&3
    } 3<>/dev/tcp/127.0.0.1/15000 && [ "$status" = 200 ]
}
until ready 2>/dev/null; do
    sleep 1
done
exec "$@"
