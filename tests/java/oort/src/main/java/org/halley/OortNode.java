package org.halley;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.cometd.bayeux.Promise;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.LocalSession;
import org.cometd.bayeux.server.ServerMessage;
import org.cometd.bayeux.server.ServerSession;
import org.cometd.oort.Oort;
import org.cometd.oort.OortList;
import org.cometd.oort.OortMap;
import org.cometd.oort.OortMulticastConfigurer;
import org.cometd.oort.OortObject;
import org.cometd.oort.OortObjectFactories;
import org.cometd.oort.OortService;
import org.cometd.oort.OortStringMap;
import org.cometd.oort.Seti;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.DefaultSecurityPolicy;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.ajax.JSON;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/**
 * A CometD node with Oort and Seti under the orders of a test, one JSON object per line, as {@link Agent}. Its policy admits
 * nobody but nodes that know the secret.
 */
public final class OortNode {
    private final PrintStream answers;
    private final List<String> events = new CopyOnWriteArrayList<>();
    private final Map<String, LocalSession> sessions = new ConcurrentHashMap<>();
    private final Map<String, List<Object>> received = new ConcurrentHashMap<>();
    private final Map<String, OortObject<?>> objects = new ConcurrentHashMap<>();
    private final Map<String, Echo> services = new ConcurrentHashMap<>();
    private BayeuxServerImpl bayeux;
    private Oort oort;
    private Seti seti;

    private OortNode(PrintStream answers) {
        this.answers = answers;
    }

    public static void main(String[] arguments) throws Exception {
        OortNode node = new OortNode(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        // Standard output belongs to the answers.
        System.setOut(System.err);
        ExecutorService orders = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Order order = new Order(Agent.object(new JSON().fromJSON(line)));
            orders.execute(() -> node.answer(order));
        }
        Runtime.getRuntime().halt(0);
    }

    private void answer(Order order) {
        Map<String, Object> answer = new HashMap<>();
        answer.put("re", order.number("number"));
        try {
            answer.put("ok", carryOut(order));
        } catch (Exception failure) {
            answer.put("error", order.text("order") + ": " + failure);
        }
        String line = new JSON().toJSON(answer);
        synchronized (answers) {
            answers.println(line);
        }
    }

    private Object carryOut(Order order) throws Exception {
        switch (order.text("order")) {
            case "start":
                return start(order);
            case "observe":
                return oort.observeComet(order.text("url")) != null;
            case "deobserve":
                return oort.deobserveComet(order.text("url")) != null;
            case "known":
                return oort.getKnownComets().toArray();
            case "events":
                return events.toArray();
            case "observe_channel":
                oort.observeChannel(order.text("channel"));
                return true;
            case "subscribe":
                session(order.text("user")).getChannel(order.text("channel"))
                        .subscribe((channel, message) -> note(order.text("user"), message.getChannel(), message.getData()));
                return true;
            case "publish":
                session(order.text("user")).getChannel(order.text("channel")).publish(order.value("data"));
                return true;
            case "received":
                return received.getOrDefault(order.text("user") + order.text("channel"), List.of()).toArray();
            case "associate": {
                LocalSession session = session(order.text("user"));
                session.getChannel("/service/dm").addListener((ClientSessionChannel.MessageListener)
                        (channel, message) -> note(order.text("user"), message.getChannel(), message.getData()));
                return seti.associate(order.text("user"), session.getServerSession());
            }
            case "disassociate":
                return !seti.disassociate(order.text("user")).isEmpty();
            case "present":
                return seti.isPresent(order.text("user"));
            case "users":
                return seti.getUserIds().toArray();
            case "send":
                seti.sendMessage(order.text("user"), order.text("channel"), order.value("data"));
                return true;
            case "object":
                return add(order.text("name"), new OortObject<>(oort, order.text("name"), OortObjectFactories.forString("none")));
            case "map":
                return add(order.text("name"), new OortStringMap<>(oort, order.text("name"), OortObjectFactories.forConcurrentMap()));
            case "list":
                return add(order.text("name"), new OortList<>(oort, order.text("name"), OortObjectFactories.forConcurrentList()));
            case "set":
                OortNode.<String>object(objects.get(order.text("name"))).setAndShare(order.text("value"), null);
                return true;
            case "put":
                map(order).putAndShare(order.text("key"), order.value("value"), null);
                return true;
            case "remove":
                map(order).removeAndShare(order.text("key"), null);
                return true;
            case "add":
                list(order).addAndShare(null, order.value("value"));
                return true;
            case "drop":
                list(order).removeAndShare(null, order.value("value"));
                return true;
            case "parts": {
                Map<String, Object> parts = new HashMap<>();
                for (OortObject.Info<?> info : objects.get(order.text("name"))) {
                    Object value = info.getObject();
                    parts.put(info.getOortURL(), value instanceof List<?> list ? list.toArray() : value);
                }
                return parts;
            }
            case "service": {
                Echo echo = new Echo(oort, order.text("name"));
                echo.start();
                services.put(order.text("name"), echo);
                return true;
            }
            case "forward":
                return services.get(order.text("name"))
                        .ask(order.text("url"), order.value("parameter"), order.text("context"));
            case "results":
                return services.get(order.text("name")).results.toArray();
            default:
                throw new IllegalArgumentException("no such order");
        }
    }

    private String start(Order order) throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort((int)order.number("port"));
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler("/");
        // Upgrades are taken in front of the servlets.
        context.insertHandler(WebSocketUpgradeHandler.from(server, context));
        server.setHandler(context);
        bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        bayeux.setOption("ws.cometdURLMapping", "/cometd/*");
        bayeux.setOption("maxInterval", "4000");
        bayeux.setOption("timeout", "4000");
        bayeux.addTransport(new JettyWebSocketTransport(bayeux));
        bayeux.addTransport(new JSONHttpTransport(bayeux));
        bayeux.setAllowedTransports("websocket", "long-polling");
        context.setAttribute(BayeuxServer.ATTRIBUTE, bayeux);
        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setInitOrder(1);
        cometd.setAsyncSupported(true);
        context.addServlet(cometd, "/cometd/*");
        server.start();

        String url = "http://127.0.0.1:" + connector.getLocalPort() + "/cometd";
        oort = new Oort(bayeux, url);
        oort.setSecret(order.text("secret"));
        oort.setAckExtensionEnabled(true);
        oort.setBinaryExtensionEnabled(true);
        oort.addCometListener(new Oort.CometListener() {
            @Override
            public void cometJoined(Event event) {
                events.add("joined " + event.getCometURL());
            }

            @Override
            public void cometLeft(Event event) {
                events.add("left " + event.getCometURL());
            }
        });
        bayeux.setSecurityPolicy(new DefaultSecurityPolicy() {
            @Override
            public void canHandshake(BayeuxServer server, ServerSession session, ServerMessage message, Promise<Boolean> promise) {
                promise.succeed(session.isLocalSession() || oort.isOortHandshake(message));
            }
        });
        oort.start();
        seti = new Seti(oort);
        seti.start();
        if (order.value("multicast") instanceof Map<?, ?> multicast) {
            OortMulticastConfigurer configurer = new OortMulticastConfigurer(oort);
            configurer.setGroupAddress(java.net.InetAddress.getByName((String)multicast.get("group")));
            configurer.setGroupPort(((Number)multicast.get("port")).intValue());
            configurer.setAdvertiseInterval(500);
            configurer.start();
        }
        return url;
    }

    private Object add(String name, OortObject<?> object) throws Exception {
        object.start();
        objects.put(name, object);
        return true;
    }

    @SuppressWarnings("unchecked")
    private static <T> OortObject<T> object(OortObject<?> object) {
        return (OortObject<T>)object;
    }

    @SuppressWarnings("unchecked")
    private OortMap<String, Object> map(Order order) {
        return (OortMap<String, Object>)(OortObject<?>)objects.get(order.text("name"));
    }

    @SuppressWarnings("unchecked")
    private OortList<Object> list(Order order) {
        return (OortList<Object>)(OortObject<?>)objects.get(order.text("name"));
    }

    private void note(String user, String channel, Object data) {
        received.computeIfAbsent(user + channel, key -> new CopyOnWriteArrayList<>()).add(data);
    }

    /** The session of a user of this node, a client as far as Oort is concerned. */
    private LocalSession session(String user) {
        return sessions.computeIfAbsent(user, name -> {
            LocalSession session = bayeux.newLocalSession(name);
            session.handshake();
            return session;
        });
    }

    /** A service that answers with what it was asked and where; fails when asked to. */
    private static final class Echo extends OortService<Object, String> {
        private final List<Object> results = new CopyOnWriteArrayList<>();

        private Echo(Oort oort, String name) {
            super(oort, name);
        }

        private boolean ask(String url, Object parameter, String context) {
            return forward(url, parameter, context);
        }

        @Override
        protected Result<Object> onForward(Request request) {
            Object data = request.getData();
            if ("fail".equals(data)) {
                return Result.failure("asked to");
            }
            if ("ignore".equals(data)) {
                return Result.ignore("not here");
            }
            return Result.success(List.of("java", data).toArray());
        }

        @Override
        protected void onForwardSucceeded(Object result, String context) {
            results.add(new Object[]{context, true, result});
        }

        @Override
        protected void onForwardFailed(Object failure, String context) {
            results.add(new Object[]{context, false, failure instanceof Map ? "timeout" : failure});
        }
    }
}
