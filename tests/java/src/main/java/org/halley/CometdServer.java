package org.halley;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.cometd.bayeux.Promise;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.ServerMessage;
import org.cometd.bayeux.server.ServerSession;
import org.cometd.server.AbstractService;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.ext.AcknowledgedMessagesExtension;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/**
 * A stock CometD server on Jetty: WebSocket and long-polling at {@code /cometd}, everything at its default unless an argument says otherwise.
 *
 * <pre>
 * java -cp 'classes:lib/*' org.halley.CometdServer [--host 127.0.0.1] [--port 0] [--ack] [--option NAME=VALUE]...
 * </pre>
 *
 * It prints {@code READY http://HOST:PORT/cometd} when it takes connections, and ends when its standard input does.
 * {@code --ack} turns the acknowledgement extension on; {@code --option} sets one of CometD's own options, such as {@code timeout=5000}.
 */
final class CometdServer {
    private CometdServer() {
    }

    public static void main(String[] arguments) throws Exception {
        String host = "127.0.0.1";
        int port = 0;
        boolean ack = false;
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--host" -> host = value(arguments, ++i);
                case "--port" -> port = Integer.parseInt(value(arguments, ++i));
                case "--ack" -> ack = true;
                case "--option" -> {
                    String[] option = value(arguments, ++i).split("=", 2);
                    options.put(option[0], option.length == 2 ? option[1] : "");
                }
                default -> throw new IllegalArgumentException("unknown argument " + arguments[i]);
            }
        }

        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost(host);
        connector.setPort(port);
        server.addConnector(connector);

        ServletContextHandler context = new ServletContextHandler("/");
        // Upgrades are taken in front of the servlets.
        WebSocketUpgradeHandler upgrades = WebSocketUpgradeHandler.from(server, context);
        context.insertHandler(upgrades);
        server.setHandler(context);

        BayeuxServerImpl bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        bayeux.setOption("ws.cometdURLMapping", "/cometd/*");
        options.forEach(bayeux::setOption);
        bayeux.addTransport(new JettyWebSocketTransport(bayeux));
        bayeux.addTransport(new JSONHttpTransport(bayeux));
        bayeux.setAllowedTransports("websocket", "long-polling");
        if (ack) {
            bayeux.addExtension(new AcknowledgedMessagesExtension());
        }
        context.setAttribute(BayeuxServer.ATTRIBUTE, bayeux);

        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setInitOrder(1);
        cometd.setAsyncSupported(true);
        context.addServlet(cometd, "/cometd/*");

        server.start();
        new Services(bayeux);

        System.out.println("READY http://" + host + ":" + connector.getLocalPort() + "/cometd");
        System.out.flush();
        // Whoever started this process holds its standard input; nothing is left behind when it goes.
        while (System.in.read() >= 0) {
            continue;
        }
        System.exit(0);
    }

    private static String value(String[] arguments, int i) {
        if (i >= arguments.length) {
            throw new IllegalArgumentException(arguments[i - 1] + " needs a value");
        }
        return arguments[i];
    }

    /** What tests and comparisons call. */
    public static final class Services extends AbstractService {
        Services(BayeuxServer bayeux) {
            super(bayeux, "halley");
            addService("/service/sum", "sum");
            addService("/service/mute", "mute");
            addService("/service/echo", "echo");
            addService("/service/flood", "flood");
            addService("/service/end", "end");
        }

        /** Remote call: the sum of {@code data.numbers}; a failure where there are none. */
        public void sum(ServerSession remote, ServerMessage message) {
            // The two transports parse with two parsers: one makes arrays, the other lists.
            Object numbers = message.getDataAsMap().get("numbers");
            List<?> list = numbers instanceof Object[] array ? List.of(array) : numbers instanceof List<?> given ? given : null;
            if (list != null) {
                long sum = 0;
                for (Object number : list) {
                    sum += ((Number) number).longValue();
                }
                answer(remote, message, true, Map.of("sum", sum));
            } else {
                answer(remote, message, false, Map.of("reason", "numbers expected"));
            }
        }

        /** Remote call that is never answered. */
        public void mute(ServerSession remote, ServerMessage message) {
        }

        /** Sends the data back to the sender alone, on the same channel. */
        public void echo(ServerSession remote, ServerMessage message) {
            remote.deliver(getLocalSession(), message.getChannel(), message.getData(), Promise.noop());
        }

        /** Sends as many numbers as the data says to the sender alone, on {@code /flood}. */
        public void flood(ServerSession remote, ServerMessage message) {
            long count = ((Number) message.getData()).longValue();
            for (long n = 0; n < count; n++) {
                remote.deliver(getLocalSession(), "/flood", n, Promise.noop());
            }
        }

        /** Ends the sender's session. */
        public void end(ServerSession remote, ServerMessage message) {
            remote.disconnect();
        }

        /** What CometD's own remote calls send: the call's channel and id, the outcome and data. */
        private void answer(ServerSession remote, ServerMessage call, boolean successful, Object data) {
            ServerMessage.Mutable reply = getBayeux().newMessage();
            reply.setChannel(call.getChannel());
            reply.setId(call.getId());
            reply.setSuccessful(successful);
            reply.setData(data);
            remote.deliver(getLocalSession(), reply, Promise.noop());
        }
    }
}
