"""A reader as a service: POST an image, get its answer as JSON."""

from gtnet.reader.serve.app import Limits as Limits
from gtnet.reader.serve.app import application as application
from gtnet.reader.serve.server import serve as serve
