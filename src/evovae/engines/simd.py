"""Sums of products over j, kept in vector registers.

These loops are most of what the engine for networks does.  Compilers keep what is added to in memory, as it might
overlap the rest: written out in vector instructions, steps take up to a quarter less time.  That needs parts of numba
and llvmlite that may change without notice; where they did, plain loops do all.
"""

from collections.abc import Callable

from evovae.engines.jit import part

LANES = 16  # floats in a vector; narrower machines split it


@part
def add_plainly(out, rows, idx, val, n, start):
    """out[start:] += sum of val[j] * rows[idx[j], start:] over j < n."""
    for j in range(n):
        i, v = idx[j], val[j]
        for d in range(start, out.shape[0]):
            out[d] += v * rows[i, d]


def _tile(width, ways):
    """Sums for columns start..start + width, so many side by side, as each waits for itself."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    vector, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)

    def generate(context, builder, signature, args):
        kinds = zip(signature.args[:4], args[:4], strict=True)
        out, rows, idx, val = (context.make_array(kind)(context, builder, arg) for kind, arg in kinds)
        n, start = args[4:]

        def vectors(pointer):
            places = (builder.gep(pointer, [index(k)]) for k in range(0, width, LANES))
            return [builder.bitcast(place, vector.as_pointer()) for place in places]

        def add(j, way):
            one = builder.insert_element(vector(ir.Undefined), builder.load(builder.gep(val.data, [j])), index(0))
            value = builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), LANES)([0] * LANES))
            at = builder.mul(builder.load(builder.gep(idx.data, [j])), builder.extract_value(rows.shape, 1))
            for held, row in zip(way, vectors(builder.gep(rows.data, [builder.add(at, start)])), strict=True):
                product = builder.fmul(value, builder.load(row, align=4), flags=("fast",))
                builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)

        target = vectors(builder.gep(out.data, [start]))
        sums = [[cgutils.alloca_once_value(builder, vector([0.0] * LANES)) for _ in target] for _ in range(ways)]
        whole = builder.mul(builder.sdiv(n, index(ways)), index(ways))
        with cgutils.for_range_slice(builder, index(0), whole, index(ways)) as (j, _):
            for w, way in enumerate(sums):
                add(builder.add(j, index(w)), way)
        with cgutils.for_range_slice(builder, whole, n, index(1)) as (j, _):
            add(j, sums[0])
        for pointer, *helds in zip(target, *sums, strict=True):
            total = builder.load(pointer, align=4)
            for held in helds:
                total = builder.fadd(total, builder.load(held), flags=("fast",))
            builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    @intrinsic
    def tile(typingctx, out, rows, idx, val, n, start):
        return types.void(out, rows, idx, val, types.int64, types.int64), generate

    return tile


try:
    _wide, _narrow = _tile(4 * LANES, 2), _tile(LANES, 4)
except (ImportError, AttributeError):
    add_rows: Callable = part(lambda out, rows, idx, val, n: add_plainly(out, rows, idx, val, n, 0))
else:

    @part
    def add_rows(out, rows, idx, val, n):
        """out (D,) += sum of val[j] * rows[idx[j]] over j < n; rows (K, D) are contiguous."""
        wide, narrow = out.shape[0] // (4 * LANES) * (4 * LANES), out.shape[0] // LANES * LANES
        for d in range(0, wide, 4 * LANES):
            _wide(out, rows, idx, val, n, d)
        for d in range(wide, narrow, LANES):
            _narrow(out, rows, idx, val, n, d)
        if narrow < out.shape[0]:
            add_plainly(out, rows, idx, val, n, narrow)
