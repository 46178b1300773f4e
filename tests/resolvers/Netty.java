import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.resolver.dns.DnsNameResolver;
import io.netty.resolver.dns.DnsNameResolverBuilder;

/** As gai.c, with Netty's resolver as its users (WebFlux, Vert.x, Redisson) set it up. */
public final class Netty {
    public static void main(String[] arguments) throws Exception {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        DnsNameResolver resolver =
                new DnsNameResolverBuilder(group.next()).channelType(NioDatagramChannel.class).build();
        resolver.resolve("127.0.0.1").sync();
        System.out.println("started");
        System.in.read();
        try {
            resolver.resolve(arguments[0]).sync();
            System.out.println("answered");
        } catch (Exception error) {
            System.out.println(error);
        } finally {
            group.shutdownGracefully();
        }
    }
}
