// An MCP server over stdio with one tool, which answers with its input and with a variable of its
// environment. Without the vendor's library, so that it fits into an argument.
const lines = require("node:readline").createInterface({ input: process.stdin });

const greet = {
  name: "greet",
  description: "Greets somebody.",
  inputSchema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
};

const methods = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "tiny", version: "1.0.0" },
  }),
  ping: () => ({}),
  "tools/list": () => ({ tools: [greet] }),
  "tools/call": ({ arguments: { name } }) => ({
    content: [{ type: "text", text: `servus ${name}, ${process.env.TINY_TOKEN}` }],
  }),
};

lines.on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const answer = methods[method]
    ? { result: methods[method](params) }
    : { error: { code: -32601, message: `no method ${method}` } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
});
