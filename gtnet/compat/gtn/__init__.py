"""The Python interface of the package `gtn`, so that a program written for it runs on gtnet.

    import gtnet.compat.gtn as gtn

or, if you cannot edit the imports, `sys.modules["gtn"] = gtnet.compat.gtn` before them.
Every function is one of gtnet's algorithms, done in one call for the acyclic graphs of a CPU; the
tape of gradients (`calc_grad`, `grad`, `backward`) holds the adjoint of each call, beside torch's
autograd. `graph.core` is the `gtnet.Graph` of a
graph and `Graph.of` makes the way back, so that you can port a program piece by piece. The names
are those of gtn's last version (2022); `linear_graph` and `scalar_graph` also take the arguments of
the versions before it. `union`, `concat`, `closure` and `remove` give gtn's own nodes, arcs and
order.

Differences from gtn, where gtnet is right or raises:

- Cycles. `forward_score` and `viterbi_score` of a cyclic graph are exact where the sum exists and
  raise ValueError where it does not; gtn raised for some cycles and returned wrong numbers for
  others. The closure of a graph that accepts the empty string has no finite sum. A node that
  nothing leads to is not an error, and other arcs keep their gradient.
- Sums run in float64 and are rounded once, to float32; gtn's drift with the length of the graph.
- Impossible paths. The gradient of a score of -inf is 0, not NaN. Weights that are NaN pass
  through; sums and best paths take them for -inf (gtn: NaN where a node has other arcs, and -inf
  where it has none).
- `set_weights` reads arrays and tensors of any strides, dtype and shape by their elements, and
  raises ValueError if their number is not that of the arcs; gtn read strided arrays as if they
  were contiguous and short ones beyond their end. An address is not checked, as in gtn.
- `add_arc` raises ValueError for nodes that do not exist and labels below epsilon. Nodes and arcs
  cannot be added to the result of an operation as long as its gradient is recorded.
- `remove` drops weights and has no gradient, as in gtn; `gtnet.remove_epsilon(graph.core)` keeps
  them, sums cycles, and has one.
- `compose` and `intersect` count every pair of paths with epsilons on both sides once, number nodes
  in their own order and trim their results. `intersect` of transducers raises ValueError. Arcs need
  no order: `arc_sort` and `mark_arc_sorted` do nothing.
- Gradients belong to the weights at the time of the operation, even if `set_weights` was called
  since. `grad` of a result of `calc_grad=False` raises as in gtn.
- `sample` walks only where it can still accept, and takes its random numbers from torch
  (`torch.manual_seed`).
- `savetxt` writes enough digits to read the same float32 back (gtn: six); `loadtxt` also reads
  graphs without start or accept nodes, and wrong files raise ValueError.
- `draw` writes .dot, .svg, .png and .pdf, in the style of `gtnet.draw`.
- Lists run on as many threads as `torch.get_num_threads()` says. A graph on a GPU supports what
  gtnet supports there and raises ValueError for the rest; `union`, `concat`, `closure` and `remove`
  copy it to the CPU and the result back.
"""

from __future__ import annotations

from gtnet import __version__ as __version__
from gtnet.compat.gtn import criterion as criterion
from gtnet.compat.gtn import cuda as cuda
from gtnet.compat.gtn.device import CPU as CPU
from gtnet.compat.gtn.device import CUDA as CUDA
from gtnet.compat.gtn.device import Device as Device
from gtnet.compat.gtn.device import DeviceType as DeviceType
from gtnet.compat.gtn.files import draw as draw
from gtnet.compat.gtn.files import load as load
from gtnet.compat.gtn.files import loadtxt as loadtxt
from gtnet.compat.gtn.files import save as save
from gtnet.compat.gtn.files import savetxt as savetxt
from gtnet.compat.gtn.files import write_dot as write_dot
from gtnet.compat.gtn.functions import add as add
from gtnet.compat.gtn.functions import backward as backward
from gtnet.compat.gtn.functions import clone as clone
from gtnet.compat.gtn.functions import closure as closure
from gtnet.compat.gtn.functions import compose as compose
from gtnet.compat.gtn.functions import concat as concat
from gtnet.compat.gtn.functions import epsilon as epsilon
from gtnet.compat.gtn.functions import equal as equal
from gtnet.compat.gtn.functions import forward_score as forward_score
from gtnet.compat.gtn.functions import intersect as intersect
from gtnet.compat.gtn.functions import isomorphic as isomorphic
from gtnet.compat.gtn.functions import linear_graph as linear_graph
from gtnet.compat.gtn.functions import negate as negate
from gtnet.compat.gtn.functions import project_input as project_input
from gtnet.compat.gtn.functions import project_output as project_output
from gtnet.compat.gtn.functions import rand_equivalent as rand_equivalent
from gtnet.compat.gtn.functions import remove as remove
from gtnet.compat.gtn.functions import sample as sample
from gtnet.compat.gtn.functions import scalar_graph as scalar_graph
from gtnet.compat.gtn.functions import subtract as subtract
from gtnet.compat.gtn.functions import union as union
from gtnet.compat.gtn.functions import viterbi_path as viterbi_path
from gtnet.compat.gtn.functions import viterbi_score as viterbi_score
from gtnet.compat.gtn.graph import Graph as Graph
from gtnet.compat.gtn.parallel import parallel_for as parallel_for
