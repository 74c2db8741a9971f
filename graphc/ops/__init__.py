"""Every op by name; importing a family registers its ops."""

from graphc.ops.elementwise import add, cast, exp, mul
from graphc.ops.marker import gradient_request, gradients, stop_gradient
from graphc.ops.source import constant, iota, placeholder, placeholder_with_default, run_state
from graphc.ops.state import after, check, extent, group, pick, print
