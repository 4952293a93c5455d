package org.halley;

import jakarta.websocket.ContainerProvider;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.cometd.bayeux.BinaryData;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.ext.AckExtension;
import org.cometd.client.ext.BinaryExtension;
import org.cometd.client.http.jetty.JettyHttpClientTransport;
import org.cometd.client.transport.ClientTransport;
import org.cometd.client.websocket.jakarta.WebSocketTransport;
import org.eclipse.jetty.client.HttpClient;

/** One stock BayeuxClient, and what has arrived at it. */
final class Client {
    private static final long REPLY_SECONDS = 60;

    private final BayeuxClient bayeux;
    private final Map<String, List<Map<String, Object>>> received = new HashMap<>();
    private final Map<String, ClientSessionChannel.MessageListener> listeners = new HashMap<>();
    private long handshakes;
    private long failedHandshakes;
    private boolean connected;

    Client(String url, String transport, List<String> extensions) throws Exception {
        Map<String, Object> options = new HashMap<>();
        options.put(ClientTransport.MAX_NETWORK_DELAY_OPTION, 30_000L);
        bayeux = new BayeuxClient(url, transport(transport, options));
        bayeux.setOption(BayeuxClient.BACKOFF_INCREMENT_OPTION, 100L);
        for (String extension : extensions) {
            bayeux.addExtension(switch (extension) {
                case "Ack" -> new AckExtension();
                case "Binary" -> new BinaryExtension();
                default -> throw new IllegalArgumentException("no such extension");
            });
        }
        bayeux.getChannel(Channel.META_HANDSHAKE).addListener((ClientSessionChannel.MessageListener) (channel, reply) -> {
            if (reply.isSuccessful()) {
                arrived(() -> {
                    handshakes += 1;
                    connected = false;
                });
            } else {
                arrived(() -> failedHandshakes += 1);
            }
        });
        bayeux.getChannel(Channel.META_CONNECT).addListener((ClientSessionChannel.MessageListener) (channel, reply) ->
            arrived(() -> connected = reply.isSuccessful()));
        listen("/service/user", bayeux.getChannel("/service/user")::addListener);
    }

    private static ClientTransport transport(String name, Map<String, Object> options) throws Exception {
        if (name.equals("websocket")) {
            return new WebSocketTransport(options, null, ContainerProvider.getWebSocketContainer());
        }
        HttpClient http = new HttpClient();
        http.start();
        return new JettyHttpClientTransport(options, http);
    }

    Object connect(String user) throws Exception {
        Map<String, Object> fields = new HashMap<>();
        if (user != null) {
            fields.put("ext", Map.of("halley", Map.of("user", user)));
        }
        bayeux.handshake(fields, reply -> { });
        until(() -> connected ? true : null, 20_000, () -> "not connected");
        return Map.of("id", bayeux.getId(), "transport", bayeux.getTransport().getName());
    }

    Object subscribe(String name) throws Exception {
        Reply reply = new Reply();
        ClientSessionChannel.MessageListener listener = listen(name, added -> bayeux.getChannel(name).subscribe(added, reply));
        listeners.put(name, listener);
        return reply.outcome();
    }

    /** One message for several channels. The client has no call for that: an extension writes the array into its message. */
    Object subscribeMany(List<String> names) throws Exception {
        ClientSession.Extension array = new ClientSession.Extension() {
            @Override
            public boolean sendMeta(ClientSession session, Message.Mutable message) {
                if (Channel.META_SUBSCRIBE.equals(message.getChannel())) {
                    message.put(Message.SUBSCRIPTION_FIELD, names.toArray());
                }
                return true;
            }
        };
        names.forEach(name -> listen(name, bayeux.getChannel(name)::addListener));
        Reply reply = new Reply();
        bayeux.addExtension(array);
        bayeux.getChannel(names.get(0)).subscribe((channel, message) -> { }, reply);
        bayeux.removeExtension(array);
        return reply.outcome();
    }

    Object unsubscribe(String name) throws Exception {
        Reply reply = new Reply();
        bayeux.getChannel(name).unsubscribe(listeners.remove(name), reply);
        return reply.outcome();
    }

    Object publish(String name, Object data) throws Exception {
        Reply reply = new Reply();
        bayeux.getChannel(name).publish(data, reply);
        return reply.outcome();
    }

    /** A remote call; the answer is its result or failure. */
    Object call(String target, Object data) throws Exception {
        Reply reply = new Reply();
        bayeux.remoteCall(target, data, reply);
        Map<String, Object> outcome = reply.outcome();
        outcome.put("data", reply.message().getData());
        return outcome;
    }

    Object publishBinary(String name, Object[] numbers) throws Exception {
        byte[] bytes = new byte[numbers.length];
        for (int i = 0; i < bytes.length; i += 1) {
            bytes[i] = ((Number) numbers[i]).byteValue();
        }
        return publish(name, new BinaryData(ByteBuffer.wrap(bytes), true, Map.of("name", "picture")));
    }

    /** Waits until bytes arrive. */
    Object bytes(String channel, long ms) throws Exception {
        BinaryData data = until(
            () -> messages(channel).stream().map(message -> message.get("data")).filter(BinaryData.class::isInstance)
                .map(BinaryData.class::cast).findFirst().orElse(null),
            ms, () -> messages(channel));
        List<Object> numbers = new ArrayList<>();
        for (byte value : data.asBytes()) {
            numbers.add((long) (value & 0xFF));
        }
        return Map.of("bytes", numbers, "last", data.isLast(), "meta", data.getMetaData());
    }

    Object batch(List<Order> messages) throws Exception {
        List<Reply> replies = new ArrayList<>();
        bayeux.batch(() -> {
            for (Order message : messages) {
                Reply reply = new Reply();
                replies.add(reply);
                bayeux.getChannel(message.text("channel")).publish(message.value("data"), reply);
            }
        });
        List<Object> outcomes = new ArrayList<>();
        for (Reply reply : replies) {
            outcomes.add(reply.outcome());
        }
        return outcomes;
    }

    Object message(String channel, Object wanted, long ms) throws Exception {
        return until(
            () -> messages(channel).stream().filter(message -> holds(message.get("data"), wanted)).findFirst().orElse(null),
            ms, () -> messages(channel));
    }

    synchronized Object received(String channel) {
        return new ArrayList<>(messages(channel));
    }

    Object handshakes(long wanted, long ms) throws Exception {
        until(() -> handshakes >= wanted && connected ? true : null, ms, () -> handshakes);
        return Map.of("handshakes", handshakes, "id", bayeux.getId());
    }

    /** Waits until a handshake has failed. */
    Object failedHandshake(long ms) throws Exception {
        return until(() -> failedHandshakes > 0 ? failedHandshakes : null, ms, () -> handshakes);
    }

    Object disconnect() throws Exception {
        Reply reply = new Reply();
        bayeux.disconnect(reply);
        return reply.outcome();
    }

    private ClientSessionChannel.MessageListener listen(String name, Consumer<ClientSessionChannel.MessageListener> add) {
        ClientSessionChannel.MessageListener listener = (channel, message) -> {
            // The reply to a message of one's own comes on its channel too, without data.
            if (message.getData() != null) {
                Map<String, Object> kept = new HashMap<>();
                kept.put("channel", message.getChannel());
                kept.put("data", message.getData());
                arrived(() -> messages(name).add(kept));
            }
        };
        add.accept(listener);
        return listener;
    }

    private List<Map<String, Object>> messages(String channel) {
        return received.computeIfAbsent(channel, name -> new ArrayList<>());
    }

    private synchronized void arrived(Runnable change) {
        change.run();
        notifyAll();
    }

    /** Checks a condition now and whenever something arrives, until the deadline. */
    private synchronized <T> T until(Supplier<T> condition, long ms, Supplier<Object> seen) throws Exception {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(ms);
        for (T value = condition.get(); ; value = condition.get()) {
            long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
            if (value != null) {
                return value;
            }
            if (left <= 0) {
                throw new IllegalStateException("not within " + ms + " ms; instead: " + seen.get());
            }
            wait(left);
        }
    }

    private static boolean holds(Object data, Object wanted) {
        if (wanted instanceof Map<?, ?> fields) {
            return data instanceof Map<?, ?> map
                && fields.entrySet().stream().allMatch(field -> holds(map.get(field.getKey()), field.getValue()));
        }
        return Objects.equals(data, wanted);
    }

    /** The reply to one message. */
    private static final class Reply implements ClientSession.MessageListener {
        private final CompletableFuture<Message> arrived = new CompletableFuture<>();

        @Override
        public void onMessage(Message message) {
            arrived.complete(message);
        }

        Message message() throws Exception {
            return arrived.get(REPLY_SECONDS, TimeUnit.SECONDS);
        }

        Map<String, Object> outcome() throws Exception {
            Message reply = message();
            Map<String, Object> outcome = new HashMap<>();
            outcome.put("successful", reply.isSuccessful());
            outcome.put("error", reply.get(Message.ERROR_FIELD));
            return outcome;
        }
    }
}
