package org.halley;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.eclipse.jetty.util.ajax.JSON;

/** The fields of one order. */
record Order(Map<String, Object> fields) {
    static Order of(String line) {
        return new Order(object(new JSON().fromJSON(line)));
    }

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
        return Arrays.stream((Object[]) fields.get(name)).map(value -> new Order(object(value))).toList();
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return (Map<String, Object>) value;
    }
}
