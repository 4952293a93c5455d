package org.halley;

import java.util.Map;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/** CometD 8 in Jetty 12. Nobody is served before {@link #open}, but the port is taken. */
final class Served {
    private final Server server = new Server();
    private final ServerConnector connector = new ServerConnector(server);
    private final BayeuxServerImpl bayeux = new BayeuxServerImpl();

    Served(int port, Map<String, String> options) throws Exception {
        ServletContextHandler context = new ServletContextHandler("/");
        // Upgrades are taken in front of the servlets.
        context.insertHandler(WebSocketUpgradeHandler.from(server, context));
        server.setHandler(context);
        bayeux.setOption(Context.class.getName(), context.getContext());
        options.forEach(bayeux::setOption);
        bayeux.addTransport(new JettyWebSocketTransport(bayeux));
        bayeux.addTransport(new JSONHttpTransport(bayeux));
        bayeux.setAllowedTransports("websocket", "long-polling");
        context.setAttribute(BayeuxServer.ATTRIBUTE, bayeux);
        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setInitOrder(1);
        cometd.setAsyncSupported(true);
        context.addServlet(cometd, "/cometd/*");
        server.start();
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        connector.open();
    }

    BayeuxServerImpl bayeux() {
        return bayeux;
    }

    int port() {
        return connector.getLocalPort();
    }

    void open() throws Exception {
        server.addConnector(connector);
        connector.start();
    }

    void stop() throws Exception {
        server.stop();
    }
}
