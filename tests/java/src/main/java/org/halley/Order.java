package org.halley;

import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** The fields of one order. */
record Order(Map<String, Object> fields) {
    Object value(String name) {
        return fields.get(name);
    }

    String text(String name) {
        return (String) fields.get(name);
    }

    long number(String name) {
        return ((Number) fields.get(name)).longValue();
    }

    List<String> texts(String name) {
        return Arrays.stream((Object[]) fields.get(name)).map(String.class::cast).toList();
    }

    List<Order> objects(String name) {
        return Arrays.stream((Object[]) fields.get(name)).map(value -> new Order(Agent.object(value))).toList();
    }
}
