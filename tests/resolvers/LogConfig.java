import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.URL;

/** An application that fetches the configuration of its logging in its second second, and ends if it does not get it. */
public final class LogConfig {
    public static void main(String[] arguments) throws IOException, InterruptedException {
        System.out.println("started");
        Thread.sleep(Math.max(0, 2000 - ManagementFactory.getRuntimeMXBean().getUptime()));
        try (var answer = new URL(arguments[0]).openStream()) {
            System.out.println("configured by " + new String(answer.readAllBytes()).strip());
        }
    }
}
