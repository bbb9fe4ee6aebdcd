// Vercel's AI SDK with the stock exporter of OpenTelemetry for JavaScript.
import { createOpenAI } from "@ai-sdk/openai";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import * as ai from "ai";
import { z } from "zod";

const provider = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const result = await ai.generateText({
  model: openai.chat("gpt-4o-mini"),
  prompt: "Weather in Oslo?",
  stopWhen: ai.stepCountIs(3),
  tools: {
    weather: ai.tool({
      description: "The weather in a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `Sunny in ${city}`,
    }),
  },
  experimental_telemetry: {
    isEnabled: true,
    functionId: "forecast",
    metadata: { userId: "u-js", "tollgate.feature": "ai_sdk" },
  },
});
console.log(result.text);
await provider.forceFlush();
await provider.shutdown();
