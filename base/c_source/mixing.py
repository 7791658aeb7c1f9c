"""The C source of base/native.py (locked): an adaptive arithmetic coder of integer streams."""

# Integers only, so that every machine gives the same bytes: 22-bit probabilities with a count (as in lpaq, M. Mahoney),
# mixed in the logistic domain by weights that learn online, then a carry-less 32-bit range coder (both ideas: PAQ).
SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef int32_t i32; typedef int64_t i64; typedef uint8_t u8; typedef uint32_t u32; typedef uint64_t u64;
enum { SIGN = 24, LOW = 32, LEVELS = 48, COARSE = 12, FEATURES = 13, COLUMN = 9, INPUTS = 17, BUCKETS = 33 };
enum { RATE = 16, MOST_SEEN = 1023, EDGE = 24 };
static const u32 SIZES[FEATURES] = {1, 48, 48, 48, 48, 16, 16, 16, 48, 0, 12, 3, 3};

typedef struct { u32 low, high, window; u8 *at, *end; int decode, failed; } Coder;
typedef struct {
  const i32 *stretch, *squash, *reciprocal;
  int contexts, decisions, set;
  u32 *tables[INPUTS], *row[INPUTS], *adjust;
  i32 *by_decision, *by_set;
  i64 seen;
} Model;

static i32 clamp(i32 x, i32 low, i32 high) { return x < low ? low : x > high ? high : x; }

static int code(Coder *c, u32 one, int bit) { /* the chance of a 1 is one / 65536 */
  u32 middle = c->low + (u32)(((u64)(c->high - c->low) * one) >> 16);
  if (c->decode) bit = c->window <= middle;
  if (bit) c->high = middle; else c->low = middle + 1;
  while (!((c->low ^ c->high) >> 24)) {
    if (c->at == c->end) { c->failed = 1; return 0; }
    if (c->decode) c->window = c->window << 8 | *c->at++; else *c->at++ = (u8)(c->high >> 24);
    c->low <<= 8; c->high = c->high << 8 | 255;
  }
  return bit;
}

static int decide(Model *m, Coder *c, int decision, int bit) {
  i32 inputs[INPUTS], *first = m->by_decision + decision * INPUTS, *second = m->by_set + m->set * INPUTS;
  u32 *cells[INPUTS];
  i64 sum_first = 0, sum_second = 0;
  int n = m->contexts;
  for (int i = 0; i < n; i++) {
    cells[i] = m->row[i] + decision;
    i32 seen = *cells[i] & 1023, sure = seen >= 30 ? 256 : seen * 256 / (seen + 2);
    inputs[i] = (m->stretch[*cells[i] >> 20] * sure) >> 8;
  }
  inputs[n++] = 256;
  for (int i = 0; i < n; i++) { sum_first += (i64)first[i] * inputs[i]; sum_second += (i64)second[i] * inputs[i]; }
  i32 a = clamp((i32)(sum_first >> 16), -2047, 2047), b = clamp((i32)(sum_second >> 16), -2047, 2047);
  i32 chance_a = m->squash[a + 2048], chance_b = m->squash[b + 2048], mean = (a + b) >> 1;
  u32 place = (u32)(mean + 2048) * 32, weight = place & 4095;
  u32 *cell = m->adjust + (decision * LEVELS + m->set) * BUCKETS + (place >> 12);
  i32 adjusted = (i32)((cell[0] * (4096 - weight) + cell[1] * weight) >> 12);
  i32 chance = (m->squash[mean + 2048] * 6 + adjusted * 2 + 4) >> 3;
  bit = code(c, (u32)clamp(chance, EDGE, 65536 - EDGE), bit);
  i32 target = bit ? 65535 : 0;
  i64 rate = RATE + (i64)RATE * 16 * 8192 / (8192 + m->seen++ * 8);
  i64 error_a = (target - chance_a) * rate, error_b = (target - chance_b) * rate;
  for (int i = 0; i < n; i++) {
    first[i] += (i32)((inputs[i] * error_a + (1 << 19)) >> 20);
    second[i] += (i32)((inputs[i] * error_b + (1 << 19)) >> 20);
  }
  for (int i = 0; i < n - 1; i++) {
    i32 seen = *cells[i] & 1023, p = (i32)(*cells[i] >> 10);
    p += (i32)(((i64)((bit << 22) - bit - p) * m->reciprocal[seen]) >> 16);
    *cells[i] = (u32)p << 10 | (u32)(seen + (seen < MOST_SEEN));
  }
  cell += weight > 2048;
  *cell += (u32)((target - (i32)*cell) >> 6);
  return bit;
}

static u32 level(u32 x) { /* about 4 log2(x), 0 to 47 */
  if (x < 4) return x;
  int bits = 31;
  while (!(x >> bits)) bits--;
  u32 found = 4 * (u32)(bits - 1) + ((x >> (bits - 2)) & 3);
  return found < LEVELS ? found : LEVELS - 1;
}
static u32 small(int x) { u32 found = level((u32)abs(x)); return found < 16 ? found : 15; }

static int value(Model *m, Coder *c, int known, int shift) {
  int size = abs(known), high = 0, node = 1;
  while (decide(m, c, high < 23 ? high : 23, high < size >> shift)) {
    if (c->failed || ++high > 128 >> shift) { c->failed = 1; return 0; }
  }
  for (int bit = shift - 1; bit >= 0; bit--)
    node = node * 2 + decide(m, c, LOW + (high > 2 ? 2 : high) * 32 + node, (size >> bit) & 1);
  if (c->decode) size = high << shift | (node - (1 << shift));
  int negative = size && decide(m, c, SIGN, known < 0);
  if (size > 127 + negative) { c->failed = 1; return 0; }
  return negative ? -size : size;
}

static void run(Model *m, Coder *c, signed char *values, i64 count, i64 rows, i64 columns, const u8 *scales,
                int by_column, int shift, const i32 *contexts, u32 *energies) {
  u32 mean = 512u << shift, feature[FEATURES] = {0}; /* magnitudes times 256 */
  for (i64 j = 0; j < columns; j++) energies[j] = mean;
  for (i64 k = 0; k < count; k++) for (i64 r = 0; r < rows; r++) {
    signed char *row = values + (k * rows + r) * columns;
    const signed char *above = r ? row - columns : 0, *before = k ? row - rows * columns : 0;
    u64 total = 0;
    u32 recent = mean;
    for (i64 j = 0; j < columns && !c->failed; j++) {
      u32 energy = (u32)(((total << 8) + 8 * (u64)mean) / (u64)(j + 8));
      u32 product = (u32)((u64)energy * energies[j] / (mean + 1));
      int left = j ? row[j - 1] : 0, up = above ? above[j] : 0, same = before ? before[j] : 0;
      feature[1] = level(energy >> 3); feature[2] = level(energies[j] >> 3); feature[3] = level(product >> 3);
      feature[4] = level((u32)((u64)recent * energies[j] / (mean + 1)) >> 3);
      feature[5] = small(left); feature[6] = small(up); feature[7] = small(same);
      feature[8] = !scales ? 0 : by_column ? scales[k * columns + j] : scales[k * rows + r];
      feature[COLUMN] = (u32)j; feature[10] = feature[1] >> 2;
      feature[11] = (u32)((left > 0) - (left < 0) + 1); feature[12] = (u32)((up > 0) - (up < 0) + 1);
      m->set = (int)feature[3];
      for (int i = 0; i < m->contexts; i++) {
        const i32 *chosen = contexts + 2 * i;
        u32 width = chosen[1] == COLUMN ? (u32)columns : SIZES[chosen[1]];
        m->row[i] = m->tables[i] + (u64)(feature[chosen[0]] * width + feature[chosen[1]]) * (u32)m->decisions;
      }
      int found = value(m, c, c->decode ? 0 : row[j], shift), size = abs(found);
      if (c->decode) row[j] = (signed char)found;
      total += (u64)size;
      recent = (u32)((i32)recent + (((size << 8) - (i32)recent) >> 3));
      energies[j] = (u32)((i32)energies[j] + (((size << 8) - (i32)energies[j]) >> 5));
      mean = (u32)((i32)mean + (((size << 12) - (i32)(mean << 4)) >> 14));
    }
  }
}

/* Encode or decode count matrices (rows, columns) with one model; returns the bytes written or read, -1 on failure. */
i64 mix_code(i32 decode, signed char *values, i64 count, i64 rows, i64 columns, const u8 *scales, i32 by_column,
             i32 shift, const i32 *contexts, i32 number, const i32 *stretch, const i32 *squash, const i32 *reciprocal,
             u8 *buffer, i64 size) {
  Model m = {stretch, squash, reciprocal, number, shift ? LOW + 96 : LOW, 0};
  Coder c = {0, 0xffffffff, 0, buffer, buffer + size, decode, 0};
  u64 decisions = (u64)m.decisions;
  u32 *energies = malloc((u64)columns * 4);
  m.by_decision = malloc(decisions * INPUTS * 4); m.by_set = malloc(LEVELS * INPUTS * 4);
  m.adjust = malloc(decisions * LEVELS * BUCKETS * 4);
  int ready = energies && m.by_decision && m.by_set && m.adjust;
  for (int i = 0; i < number; i++) {
    u64 cells = decisions;
    for (int side = 0; side < 2; side++) {
      i32 id = contexts[2 * i + side];
      cells *= id == COLUMN ? (u64)columns : SIZES[id];
    }
    m.tables[i] = malloc(cells * 4);
    for (u64 j = 0; m.tables[i] && j < cells; j++) m.tables[i][j] = 1u << 31;
    ready = ready && m.tables[i];
  }
  if (ready) {
    for (u64 i = 0; i < decisions * INPUTS; i++) m.by_decision[i] = 65536 * 4 / 10;
    for (u64 i = 0; i < LEVELS * INPUTS; i++) m.by_set[i] = 65536 * 4 / 10;
    for (u64 i = 0; i < decisions * LEVELS * BUCKETS; i++)
      m.adjust[i] = (u32)squash[clamp((i32)(i % BUCKETS) * 128, 0, 4095)];
    for (int i = 0; i < 4 && decode; i++) {
      if (c.at == c.end) c.failed = 1; else c.window = c.window << 8 | *c.at++;
    }
    if (!c.failed) run(&m, &c, values, count, rows, columns, scales, by_column, shift, contexts, energies);
    for (int i = 0; i < 4 && !decode && !c.failed; i++, c.low <<= 8) {
      if (c.at == c.end) c.failed = 1; else *c.at++ = (u8)(c.low >> 24);
    }
  }
  for (int i = 0; i < number; i++) free(m.tables[i]);
  free(m.by_decision); free(m.by_set); free(m.adjust); free(energies);
  return ready && !c.failed ? c.at - buffer : -1;
}
"""
