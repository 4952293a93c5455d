package org.halley;

import java.util.Map;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.CometDServlet;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

/** CometD 3.1 to 6.0 in Jetty 9 or 10, as a servlet. Nobody is served before {@link #open}, but the port is taken. */
final class Served {
    private final Server server = new Server();
    private final ServerConnector connector = new ServerConnector(server);
    private final BayeuxServerImpl bayeux;

    Served(int port, Map<String, String> options) throws Exception {
        ServletContextHandler context = new ServletContextHandler(server, "/");
        Sockets.configure(context);
        ServletHolder cometd = new ServletHolder(new CometDServlet());
        cometd.setInitParameter("transports", Sockets.TRANSPORT);
        options.forEach(cometd::setInitParameter);
        cometd.setInitOrder(1);
        cometd.setAsyncSupported(true);
        context.addServlet(cometd, "/cometd/*");
        server.start();
        bayeux = (BayeuxServerImpl)context.getServletContext().getAttribute(BayeuxServer.ATTRIBUTE);
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
