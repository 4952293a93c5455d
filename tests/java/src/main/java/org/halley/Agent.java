package org.halley;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.eclipse.jetty.util.ajax.JSON;

/**
 * CometD's Java clients under the orders of a test: {"number", "order", ...} in, {"re", "ok"} or {"re", "error"} out, one JSON
 * object per line. The orders are those of tests/js/agent.mjs that conversations use. Ends when standard input closes.
 */
public final class Agent {
    private final Map<String, Client> clients = new ConcurrentHashMap<>();
    private final PrintStream answers;

    private Agent(PrintStream answers) {
        this.answers = answers;
    }

    public static void main(String[] arguments) throws Exception {
        Agent agent = new Agent(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        // Standard output belongs to the answers.
        System.setOut(System.err);
        ExecutorService orders = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Order order = Order.of(line);
            orders.execute(() -> agent.answer(order));
        }
        // The clients' threads would keep the process alive.
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
        String name = order.text("client");
        if (order.text("order").equals("connect")) {
            Client client = new Client(order.text("url"), order.text("transport"), order.value("extensions") == null ? List.of() : order.texts("extensions"));
            clients.put(name, client);
            return client.connect(order.text("user"));
        }
        Client client = clients.get(name);
        if (client == null) {
            throw new IllegalArgumentException("no client " + name);
        }
        return switch (order.text("order")) {
            case "subscribe" -> client.subscribe(order.text("channel"));
            case "subscribe_many" -> client.subscribeMany(order.texts("channels"));
            case "unsubscribe" -> client.unsubscribe(order.text("channel"));
            case "publish" -> client.publish(order.text("channel"), order.value("data"));
            case "call" -> client.call(order.text("target"), order.value("data"));
            case "publish_binary" -> client.publishBinary(order.text("channel"), (Object[]) order.value("bytes"));
            case "bytes" -> client.bytes(order.text("channel"), order.number("ms"));
            case "batch" -> client.batch(order.objects("messages"));
            case "message" -> client.message(order.text("channel"), order.value("data"), order.number("ms"));
            case "received" -> client.received(order.text("channel"));
            case "handshakes" -> client.handshakes(order.number("handshakes"), order.number("ms"));
            case "failed_handshake" -> client.failedHandshake(order.number("ms"));
            case "disconnect" -> client.disconnect();
            default -> throw new IllegalArgumentException("no such order");
        };
    }
}
