"""graphc."""

import graphc.ops
