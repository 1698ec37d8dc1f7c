// Makes one call: node call.mjs INTERFACE FUNCTION [ARGUMENT...], names in lowerCamelCase, each argument as JSON. The
// configuration is that of the environment; the answer is printed as JSON. Exit code 1: the call did not succeed.
import * as memberspot from 'memberspot-connector';

const [interfaceName, functionName, ...parameters] = process.argv.slice(2);
try {
  print(memberspot[interfaceName][functionName](...parameters.map((text) => JSON.parse(text))));
} catch (error) {
  // An error of the component has its case and its particulars as `payload`; anything else is a fault of the program.
  if (error.payload === undefined) throw error;
  print(error.payload);
  process.exitCode = 1;
}
// The worker behind the shim's HTTP would keep Node alive.
process.exit();

function print(answer) {
  console.log(JSON.stringify(answer ?? null));
}
