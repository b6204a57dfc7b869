/* configs/roles.yaml: names of many families to roles, and what is never quantized. */
#include "core/roles.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name, *role;
    int keep;
} expected[] = {
    {"output.weight", "output", 0},
    {"token_embd.weight", "token_embd", 0},
    {"per_layer_token_embd.weight", "per_layer_token_embd", 0},
    {"output_norm.weight", "norm", 1},
    {"token_embd_norm.weight", "norm", 1},
    {"blk.0.attn_norm.weight", "norm", 1},
    {"blk.11.attn_q_norm.weight", "norm", 1},
    {"rope_freqs.weight", "rope", 1},
    {"blk.0.attn_q.weight", "attn_q", 0},
    {"blk.0.attn_q.bias", "bias", 1},
    {"blk.0.attn_k.weight", "attn_k", 0},
    {"blk.0.attn_v.weight", "attn_v", 0},
    {"blk.0.attn_qkv.weight", "attn_qkv", 0},
    {"blk.0.attn_kv_b.weight", "attn_kv_b", 0},
    {"blk.0.attn_output.weight", "attn_output", 0},
    {"blk.0.ffn_up.weight", "ffn_up", 0},
    {"blk.0.ffn_gate.weight", "ffn_gate", 0},
    {"blk.0.ffn_down.weight", "ffn_down", 0},
    {"blk.0.ffn_down_exps.weight", "ffn_down", 0},
    {"blk.0.ffn_gate_exps.weight", "ffn_gate", 0},
    {"blk.0.ffn_up_shexp.weight", "ffn_up", 0},
    {"blk.0.ffn_gate_inp.weight", "ffn_gate_inp", 1},
    {"blk.0.ffn_gate_inp_shexp.weight", "ffn_gate", 0}, /* one row: kept for its single dimension */
    {"position_embd.weight", "position_embd", 1},
    {"blk.0.ssm_conv1d.weight", "convolution", 1},
    {"blk.0.time_mix_w1.weight", "time_mix", 1},
    {"blk.0.ssm_out.weight", "other", 0},
    {"blk.0.ssm_a", "other", 1},
    {"anything.weight", "other", 0},
    {"anything", "other", 1},
};

static void test_names(void **state)
{
    scratch_folder *s = *state;
    role_table *roles;
    assert_int_equal(roles_read(s->job, QC_CONFIG_DIR "/roles.yaml", &roles), QC_OK);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        int keep = -1;
        const char *role = role_find(roles, expected[i].name, &keep);
        if (strcmp(role, expected[i].role) != 0 || keep != expected[i].keep)
            fail_msg("%s: %s, keep %d", expected[i].name, role, keep);
        assert_true(role_known(roles, role));
    }
    assert_false(role_known(roles, "fnn_down"));
    roles_free(roles);
}

static void expect_refusal(scratch_folder *s, const char *text, const char *message)
{
    role_table *roles = NULL;
    scratch_write(s, "roles.yaml", text, strlen(text));
    assert_int_equal(roles_read(s->job, scratch_path(s, "roles.yaml"), &roles), QC_E_INVALID);
    assert_null(roles);
    if (!strstr(job_message(s->job), message))
        fail_msg("%s", job_message(s->job));
    job_clear(s->job);
}

static void test_refusals(void **state)
{
    expect_refusal(*state, "rules: []\n", "roles.yaml:1:1: unknown key 'rules'");
    expect_refusal(*state, "roles: norm\n", "roles.yaml:1:8: ");
    expect_refusal(*state, "roles:\n  - {match: a}\n", "roles.yaml:2:5: ");
    expect_refusal(*state, "roles:\n  - {role: a}\n", "roles.yaml:2:5: ");
    expect_refusal(*state, "roles:\n  - {match: a, role: b, kept: true}\n", "did you mean 'keep'?");
    expect_refusal(*state, "roles:\n  - {match: a, role: b, keep: 3}\n", "roles.yaml:2:31: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_refusals, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
