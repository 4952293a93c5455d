package org.halley;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.LocalSession;
import org.cometd.bayeux.server.ServerMessage;
import org.cometd.bayeux.server.ServerSession;
import org.cometd.oort.Oort;
import org.cometd.oort.OortComet;
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

/**
 * A CometD node with Oort and Seti under the orders of a test. Its policy admits clients, and nodes that know the secret.
 */
final class OortNode {
    private final List<String> events = new CopyOnWriteArrayList<>();
    private final Map<String, LocalSession> sessions = new ConcurrentHashMap<>();
    private final Map<String, List<Object>> received = new ConcurrentHashMap<>();
    private final Map<String, OortObject<?>> objects = new ConcurrentHashMap<>();
    private final Map<String, Echo> services = new ConcurrentHashMap<>();
    private Served served;
    private Oort oort;
    private Seti seti;

    Object carryOut(Order order) throws Exception {
        switch (order.text("order")) {
            case "start":
                return start(order);
            case "stop":
                seti.stop();
                oort.stop();
                served.stop();
                return true;
            case "observe":
                return oort.observeComet(order.text("url")) != null;
            case "deobserve":
                return oort.deobserveComet(order.text("url")) != null;
            case "known":
                return oort.getKnownComets().toArray();
            case "links":
                return links(order.text("url")).toArray();
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
        served = new Served((int)order.number("port"), Map.of(
                "ws.cometdURLMapping", "/cometd/*",
                "maxInterval", "4000",
                "timeout", "2000"));
        BayeuxServerImpl bayeux = served.bayeux();
        String url = order.value("url") == null ? "http://127.0.0.1:" + served.port() + "/cometd" : order.text("url");
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
            public boolean canHandshake(BayeuxServer server, ServerSession session, ServerMessage message) {
                Map<String, Object> ext = message.getExt();
                boolean client = ext == null || !ext.containsKey(Oort.EXT_OORT_FIELD);
                return client || oort.isOortHandshake(message);
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
        served.open();
        return url;
    }

    /** The sessions of both links between this node and another: that which the other one has here, then that which this one has there. */
    private List<Object> links(String url) {
        List<Object> sessions = new ArrayList<>();
        for (ServerSession session : served.bayeux().getSessions()) {
            if (url.equals(session.getAttribute("org.cometd.oort.cometURL"))) {
                sessions.add(session.getId());
            }
        }
        OortComet comet = oort.getComet(url);
        if (comet != null) {
            sessions.add(comet.getId());
        }
        return sessions;
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
            LocalSession session = served.bayeux().newLocalSession(name);
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
