# An application: it connects at once, and does not try again.
echo "connecting to $1:$2"
exec 3<>"/dev/tcp/$1/$2" && echo connected && read -r -u 3 line && echo "the upstream says $line"
