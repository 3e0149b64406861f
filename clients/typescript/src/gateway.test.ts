// Against a real gateway over the store of tests/e2e/tiny_store.py, at the address in TURNOUT_TARGET.

import assert from "node:assert/strict";
import test from "node:test";

import { Code, ConnectError, createClient } from "@connectrpc/connect";

import { GRPCInferenceService } from "../gen/inference/open_inference_pb.js";
import { ModelService } from "../gen/turnout/v1/model_service_pb.js";
import { PricingService } from "../gen/turnout/v1/pricing_service_pb.js";
import { Reason } from "../gen/turnout/v1/served_pb.js";
import { connect, errorInfo, reasonOf } from "./turnout.js";

const transport = connect(process.env.TURNOUT_TARGET!);
const pricing = createClient(PricingService, transport);
const inference = createClient(GRPCInferenceService, transport);

const carat = (...values: number[]) => [{ name: "carat", values: { case: "floats" as const, value: { values } } }];

test("a call is answered, and says by whom", async () => {
  const answer = await pricing.predictPrice({ selector: { name: "price", unit: "vip" }, features: carat(1, 2) });
  assert.deepEqual(answer.prices.map((one) => one.price), [1000, 2000].map((one) => one * 1.5));
  const served = answer.served!;
  assert.deepEqual([served.route, served.target, served.version], ["price", "control", 1n]);
  assert.equal(served.reason, Reason.OVERRIDE);
});

test("metadata reaches the route's overrides", async () => {
  const asked = { selector: { name: "price" }, features: carat(1) };
  const answer = await pricing.predictPrice(asked, { headers: { "x-qa": "on" } });
  assert.equal(answer.served!.target, "canary");
});

test("an error has its code, its reason and its facts", async () => {
  await assert.rejects(pricing.predictPrice({ selector: { name: "prices" }, features: carat(1) }), (error) => {
    const found = ConnectError.from(error);
    assert.equal(found.code, Code.NotFound);
    const info = errorInfo(found)!;
    assert.deepEqual([info.reason, info.domain, info.metadata], ["ROUTE_NOT_FOUND", "turnout", { route: "prices" }]);
    return true;
  });
});

test("a deadline ends a call", async () => {
  const rounds = { name: "rounds", datatype: "INT64", shape: [1n], contents: { int64Contents: [100_000n] } };
  const call = inference.modelInfer({ modelName: "slow", inputs: [rounds] }, { timeoutMs: 100 });
  await assert.rejects(call, (error) => {
    assert.equal(ConnectError.from(error).code, Code.DeadlineExceeded);
    assert.match(reasonOf(error), /^(DeadlineExceeded|DEADLINE_EXPIRED|DEADLINE_UNREACHABLE)$/);
    return true;
  });
});

test("integers of 64 bits are read whole", async () => {
  const sent = [9_007_199_254_740_993n, -9_223_372_036_854_775_808n, 9_223_372_036_854_775_807n];
  const tensor = { name: "in_int64", datatype: "INT64", shape: [1n, 3n], contents: { int64Contents: sent } };
  const typed = { binary_data_output: { parameterChoice: { case: "boolParam" as const, value: false } } };
  const answer = await inference.modelInfer({ modelName: "echo-int64", inputs: [tensor], parameters: typed });
  assert.deepEqual(answer.outputs[0].contents!.int64Contents, sent);
  assert.deepEqual(answer.outputs[0].shape, [1n, 3n]);
});

test("labels are integers of 64 bits too", async () => {
  const { models } = await createClient(ModelService, transport).listModels({});
  assert.deepEqual(models.find((one) => one.name === "price")?.labels, { champion: 1n, challenger: 2n });
});
