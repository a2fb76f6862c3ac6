"""Listeners that take the events of calls to logs, Prometheus and OpenTelemetry.

Pass them to a provider: ``OllamaProvider(listeners=[LogListener()])``. One exporter may
serve any number of providers and threads.
"""

from localproviders.exporters.logs import LogListener
from localproviders.exporters.opentelemetry import OpenTelemetryExporter
from localproviders.exporters.prometheus import PrometheusExporter, TextfileExporter

__all__ = ["LogListener", "OpenTelemetryExporter", "PrometheusExporter", "TextfileExporter"]
