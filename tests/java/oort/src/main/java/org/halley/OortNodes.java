package org.halley;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.eclipse.jetty.util.ajax.JSON;

/**
 * Nodes in one JVM under the orders of a test: {"number", "node", "order", ...} in, {"re", "ok"} or {"re", "error"} out, one JSON
 * object per line. Ends when standard input closes.
 */
public final class OortNodes {
    private final PrintStream answers;
    private final Map<String, OortNode> nodes = new ConcurrentHashMap<>();

    private OortNodes(PrintStream answers) {
        this.answers = answers;
    }

    public static void main(String[] arguments) throws Exception {
        OortNodes nodes = new OortNodes(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        // Standard output belongs to the answers.
        System.setOut(System.err);
        ExecutorService orders = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Order order = Order.of(line);
            orders.execute(() -> nodes.answer(order));
        }
        Runtime.getRuntime().halt(0);
    }

    private void answer(Order order) {
        Map<String, Object> answer = new HashMap<>();
        answer.put("re", order.number("number"));
        try {
            answer.put("ok", nodes.computeIfAbsent(order.text("node"), name -> new OortNode()).carryOut(order));
        } catch (Exception failure) {
            answer.put("error", order.text("order") + ": " + failure);
        }
        String line = new JSON().toJSON(answer);
        synchronized (answers) {
            answers.println(line);
        }
    }
}
