package org.halley;

import org.cometd.server.websocket.javax.WebSocketTransport;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.websocket.javax.server.config.JavaxWebSocketServletContainerInitializer;

/** WebSocket of CometD 6.0 in Jetty 10. */
final class Sockets {
    static final String TRANSPORT = WebSocketTransport.class.getName();

    private Sockets() {
    }

    static void configure(ServletContextHandler context) {
        JavaxWebSocketServletContainerInitializer.configure(context, null);
    }
}
