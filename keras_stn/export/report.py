"""What an export did: `Report`."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """What was written, and how near it is to the Keras model.

    Attributes:
        path: The file.
        format: "onnx", ...
        size: Bytes.
        ops: How often each op stands in the graph.
        findings: Sentences that the reader should know.
        max_error: The largest absolute difference to Keras on the samples.
        psnr: The same as a peak signal-to-noise ratio in dB.
        latency_ms: The median time of one run.
    """

    path: str
    format: str
    size: int
    ops: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    max_error: float | None = None
    psnr: float | None = None
    latency_ms: float | None = None

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.format}, {self.size:,} bytes, {sum(self.ops.values())} nodes"]
        if self.max_error is not None:
            lines.append(f"largest difference to Keras: {self.max_error:.2g}")
        lines += [f"- {finding}" for finding in self.findings]
        return "\n".join(lines)
