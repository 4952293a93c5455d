package org.halley;

import org.cometd.websocket.server.WebSocketTransport;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.websocket.jsr356.server.deploy.WebSocketServerContainerInitializer;

/** WebSocket of CometD 3.1 and 4.0 in Jetty 9.4. */
final class Sockets {
    static final String TRANSPORT = WebSocketTransport.class.getName();

    private Sockets() {
    }

    static void configure(ServletContextHandler context) throws Exception {
        WebSocketServerContainerInitializer.configure(context, null);
    }
}
