// A Faye server at /cometd, everything at its default: for comparisons. Ends when its standard input does.
//
//   node faye_server.mjs PORT

import http from "node:http";
import faye from "faye";

const port = Number(process.argv[2]);
const server = http.createServer();
new faye.NodeAdapter({mount: "/cometd", timeout: 30}).attach(server);
server.listen({port, host: "127.0.0.1", backlog: 4096}, () => console.log(`READY http://127.0.0.1:${port}/cometd`));
process.stdin.on("end", () => process.exit(0)).resume();
