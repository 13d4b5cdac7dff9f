// What Microsoft's extension does for an attach: it hands VS Code the address in launch.json.
// Beside that it reports each message between VS Code and the debugger to the test.
"use strict";
const net = require("net");
const vscode = require("vscode");

exports.activate = function (context) {
    const report = net.connect(Number(process.env.DEVKIT_TEST_TRACE), "127.0.0.1");
    const tell = (what) =>
        report.write(JSON.stringify({ window: vscode.env.sessionId, ...what }) + "\n");
    const address = {
        createDebugAdapterDescriptor: ({ configuration: { connect } }) =>
            new vscode.DebugAdapterServer(connect.port, connect.host),
    };
    const tracker = {
        createDebugAdapterTracker: (session) => ({
            onWillReceiveMessage: (message) => tell({ session: session.id, message }),
            onDidSendMessage: (message) => tell({ session: session.id, message }),
        }),
    };
    context.subscriptions.push(
        vscode.debug.registerDebugAdapterDescriptorFactory("debugpy", address),
        vscode.debug.registerDebugAdapterTrackerFactory("debugpy", tracker),
        vscode.debug.onDidTerminateDebugSession((session) =>
            tell({ session: session.id, message: { type: "end" } })),
        { dispose: () => report.end() },
    );
    tell({ message: { type: "started" } });
};
