# The Collector as root, since a volume of Fly's belongs to root and the image has nothing that could give it away. It is
# alone in its virtual machine.
FROM otel/opentelemetry-collector-contrib:0.161.0
USER 0
