// An application: it connects at once, and does not try again.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;

class App {
    public static void main(String[] args) {
        System.out.println("connecting to " + args[0] + ":" + args[1]);
        try (var socket = new Socket(args[0], Integer.parseInt(args[1]))) {
            System.out.println("connected");
            var from = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            System.out.println("the upstream says " + from.readLine());
        } catch (IOException error) {
            System.err.println("cannot connect: " + error.getMessage());
            System.exit(1);
        }
    }
}
