// Asks the sample store's route `price` for a price, and then for a route that is not there:
//
//     node dist/src/example.js 127.0.0.1:8001

import { createClient } from "@connectrpc/connect";

import { PricingService } from "../gen/turnout/v1/pricing_service_pb.js";
import { Reason } from "../gen/turnout/v1/served_pb.js";
import { connect, errorInfo, reasonOf } from "./turnout.js";

const pricing = createClient(PricingService, connect(process.argv[2] ?? "127.0.0.1:8001"));

const features = [
  { name: "carat", values: { case: "floats" as const, value: { values: [0.7] } } },
  { name: "cut", values: { case: "strings" as const, value: { values: ["Ideal"] } } },
];
const answer = await pricing.predictPrice({ selector: { name: "price", unit: "customer-7" }, features });
const served = answer.served!;
console.log(answer.prices[0].price.toFixed(2), `${served.route}/${served.target}`, Reason[served.reason]);
console.log(`version ${served.version}, a ${typeof served.version}`);

try {
  await pricing.predictPrice({ selector: { name: "prices" }, features }, { timeoutMs: 500 });
} catch (error) {
  console.log(reasonOf(error), errorInfo(error)?.metadata);
}
