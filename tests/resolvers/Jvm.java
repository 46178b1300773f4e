import java.net.InetAddress;

/** As gai.c, with the JVM's resolver, which is the C library's. */
public final class Jvm {
    public static void main(String[] arguments) throws Exception {
        InetAddress.getAllByName("127.0.0.1");
        System.out.println("started");
        System.in.read();
        try {
            InetAddress.getAllByName(arguments[0]);
            System.out.println("answered");
        } catch (Exception error) {
            System.out.println(error);
        }
    }
}
