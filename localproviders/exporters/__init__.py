"""Listeners that export the events of calls to logs, Prometheus and OpenTelemetry.

Pass a listener to a provider, as in ``OllamaProvider(listeners=[LogListener()])``. Any number of
providers and threads can use the same listener.
"""

from localproviders.exporters.logs import LogListener
from localproviders.exporters.opentelemetry import OpenTelemetryExporter
from localproviders.exporters.prometheus import PrometheusExporter, TextfileExporter

__all__ = ["LogListener", "OpenTelemetryExporter", "PrometheusExporter", "TextfileExporter"]
