"""What is read off compiled programs, on texts as the TPU's and the GPU's compiler write them."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.compiled_text import Traffic, collectives, computations, entry, operations, traffic
from benchmarks.gpu_kernels import kernels

TPU = """HloModule jit_step, is_scheduled=true

%fused_computation (param_0: bf16[8,4]) -> bf16[8,4] {
  %param_0 = bf16[8,4]{1,0} parameter(0)
  ROOT %negate = bf16[8,4]{1,0} negate(%param_0)
}

%async_computation (param: f32[16]) -> f32[16] {
  %param = f32[16]{0} parameter(0)
  ROOT %all-reduce.7 = f32[16]{0} all-reduce(%param), to_apply=%add, metadata={op_name="grad"}
}

ENTRY %main (x: bf16[8,4], w: f32[16]) -> (bf16[8,4], f32[16]) {
  %x = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  %w = f32[16]{0:T(128)} parameter(1)
  %copy-start = (bf16[8,4]{1,0:T(8,128)(2,1)S(1)}, bf16[8,4]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%x)
  %copy-done = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %fusion.1 = bf16[8,4]{1,0:T(8,128)(2,1)} fusion(%copy-done, %copy-done), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(step)/block1/mul"}, backend_config={"estimated_cycles":"123"}
  %slice-start = ((f32[16]{0:T(128)}), f32[4]{0:T(128)S(1)}, u32[]{:S(2)}) slice-start(%w), slice={[0:4]}
  %slice-done = f32[4]{0:T(128)S(1)} slice-done(%slice-start)
  %all-reduce = (f32[16]{0:T(128)}, /*index=1*/f32[2,2]{1,0:T(2,128)}) all-reduce(%w, %slice-done), to_apply=%add, metadata={op_name="jit(step)/stats"}, backend_config={"estimated_cycles":"77"}
  %get-tuple-element.3 = f32[16]{0:T(128)} get-tuple-element(%all-reduce), index=0
  ROOT %tuple = (bf16[8,4]{1,0:T(8,128)(2,1)}, f32[16]{0:T(128)}) tuple(%fusion.1, %get-tuple-element.3)
}
"""  # noqa: E501

GPU = """HloModule jit_step

%fused_sum (p: bf16[2,3,3,4]) -> f32[4] {
  %p = bf16[2,3,3,4]{3,2,1,0} parameter(0)
  %z = f32[] constant(0)
  ROOT %r = f32[4]{0} reduce(%p, %z), dimensions={0,1,2}, to_apply=%add
}

%fused_cast (p.1: f32[1,1,4,4]) -> bf16[4,1,1,4] {
  %p.1 = f32[1,1,4,4]{3,2,1,0} parameter(0)
  ROOT %t = bf16[4,1,1,4]{3,2,1,0} convert(%p.1)
}

%fused_tail (p.2: bf16[2,3,3,4]) -> bf16[2,3,3,4] {
  %p.2 = bf16[2,3,3,4]{3,2,1,0} parameter(0)
  ROOT %m = bf16[2,3,3,4]{3,2,1,0} maximum(%p.2, %p.2)
}

%fused_update (p.3: f32[1,1,4,4]) -> (f32[1,1,4,4], f32[4,4]) {
  %p.3 = f32[1,1,4,4]{3,2,1,0} parameter(0)
  %s = f32[1,1,4,4]{3,2,1,0} subtract(%p.3, %p.3), metadata={op_name="jit(step)/optimizer/sub"}
  ROOT %both = (f32[1,1,4,4]{3,2,1,0}, f32[4,4]{1,0}) tuple(%s, %s)
}

ENTRY %main (x: bf16[2,3,3,4], w: f32[1,1,4,4]) -> bf16[2,3,3,4] {
  %x = bf16[2,3,3,4]{3,2,1,0} parameter(0)
  %w = f32[1,1,4,4]{3,2,1,0} parameter(1)
  %cast = bf16[4,1,1,4]{3,2,1,0} fusion(%w), kind=kLoop, calls=%fused_cast
  %cudnn-conv.1 = (bf16[2,3,3,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %cast), custom_call_target="__cudnn$convForward"
  %y = bf16[2,3,3,4]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %sums = f32[4]{0} fusion(%y), kind=kInput, calls=%fused_sum
  %gemm_fusion_dot.1 = f32[4]{0} fusion(%sums, %w), kind=kCustom, calls=%fused_sum
  %mine = bf16[2,3,3,4]{3,2,1,0} custom-call(%y, %y), custom_call_target="__gpu$xla.gpu.triton"
  %pooled = bf16[2,3,3,4]{3,2,1,0} fusion(%mine), kind=kLoop, calls=%fused_tail, metadata={op_name="stem/max_pool"}
  %update = (f32[1,1,4,4]{3,2,1,0}, f32[4,4]{1,0}) fusion(%w), kind=kLoop, calls=%fused_update
  %loop = bf16[2,3,3,4]{3,2,1,0} while(%pooled), condition=%c, body=%b
  %gates = f32[2,4]{1,0} fusion(%sums), kind=kLoop, calls=%fused_tail
  ROOT %tail = bf16[2,3,3,4]{3,2,1,0} fusion(%loop, %gates), kind=kLoop, calls=%fused_tail
}
"""  # noqa: E501


def test_bytes_over_hbm_leave_out_what_lies_on_the_chip():
    found = {instruction.name: moved for instruction, moved in traffic(entry(TPU))}
    assert found == {
        "copy-start": Traffic(read=64, written=0),  # from HBM into VMEM
        "fusion.1": Traffic(read=0, written=64),
        "slice-start": Traffic(read=16, written=0),  # of 64 bytes, a slice of 16
        "all-reduce": Traffic(read=64, written=80),
    }


def test_cycles_and_places_are_read():
    instructions = {i.name: i for i in entry(TPU)}
    assert sum(i.estimated_cycles for i in instructions.values()) == 200
    assert instructions["fusion.1"].op_name == "jit(step)/block1/mul"
    assert instructions["fusion.1"].operands == ("copy-done",)
    assert instructions["all-reduce"].op == "all-reduce"


def test_exchanges_are_found_in_every_computation():
    found = [(e.name, sum(a.bytes for a in e.results), e.op_name) for e in collectives(TPU)]
    assert found == [("all-reduce.7", 64, "grad"), ("all-reduce", 80, "jit(step)/stats")]


def test_kernels_are_told_apart():
    found = [(k.name, k.kind, k.read, k.written) for k in kernels(GPU)]
    image, kernel = 2 * 3 * 3 * 4 * 2, 4 * 4
    assert found == [
        ("cast", "optimizer, copies", 4 * kernel, 2 * kernel),
        ("cudnn-conv.1", "convolution", image + 2 * kernel, image),
        ("sums", "reduction", image, 16),
        ("gemm_fusion_dot.1", "matrix product", 16 + 4 * kernel, 16),
        ("mine", "own kernel", image, image),
        ("pooled", "pooling", image, image),
        ("update", "optimizer, copies", 4 * kernel, 8 * kernel),
        ("loop", "hidden", image, image),
        ("gates", "other", 16, 32),
        ("tail", "tail", image + 32, image),
    ]


def test_a_program_that_jax_compiled_is_read():
    compiled = jax.jit(lambda x: jnp.tanh(x) @ x).lower(jnp.ones((4, 4))).compile()
    assert sum(moved.written for _, moved in traffic(entry(compiled.as_text()))) >= 64
    assert all(operations(text) for text in computations(compiled.as_text()).values())


def test_other_texts_are_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        entry("module @jit_step {}")
