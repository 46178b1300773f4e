# Says when the application is started.
echo starting
exec "$@"
