# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Reads the runs of one group (row|x|cache|side|round|figure|value; see measure.sh) and knows medians and
# ratios of them. Loaded before report.awk or plots.awk.

BEGIN {
    sides = split("glibc ours libaio io_uring psync bare threads alone busy", side_name, " ")
}

# Everything but proofs (round 0) is a value; a note is in the place of values.
$5 == 0 { way[$1, $2] = $7; next }
{
    key = $1 SUBSEP $2
    if (!(key in seen)) {
        seen[key] = 1
        order[++rows] = key
        title[key] = $1
        x[key] = $2
        cache[key] = $3
    }
    if ($6 == "note")
        note[key, $4] = $7
    else
        value[key, $4, $6, $5] = $7
    present[$4] = 1
    has[key, $4, $6] = 1
    if ($5 > rounds)
        rounds = $5
}

function sort(list, count,    i, j, held) {
    for (i = 2; i <= count; i++) {
        held = list[i]
        for (j = i - 1; j >= 1 && list[j] > held; j--)
            list[j + 1] = list[j]
        list[j + 1] = held
    }
}

# Sorts list and sets median, least, most, and of_round for share_of. Wide: what is left without the lowest and the highest
# still spreads over more than 30 % of the median.
function summarize(list, count,    i) {
    sort(list, count)
    median = count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
    least = list[1]
    most = list[count]
    wide = count < 5 || list[count - 1] - list[2] > 0.3 * median
    summarized = count
    for (i = 1; i <= count; i++)
        of_round[i] = list[i]
}

# In how many of the rounds that were summarized last the limit was kept, as "N of M".
function share_of(op, limit,    i, kept) {
    for (i = 1; i <= summarized; i++)
        kept += op == ">=" ? of_round[i] >= limit : of_round[i] <= limit
    return kept + 0 " of " summarized
}

# The runs of a side. False: there are none.
function measured(key, side, figure,    i, count, list) {
    for (i = 1; i <= rounds; i++)
        if ((key, side, figure, i) in value)
            list[++count] = value[key, side, figure, i] + 0
    if (!count)
        return 0
    summarize(list, count)
    return count
}

# The ratios of a side to another (of another row, maybe), round by round. False: there are none.
function compared(key, side, other_key, other, figure,    i, count, list, base) {
    for (i = 1; i <= rounds; i++) {
        # Rows have more rounds or fewer, and to look at one that is not there would make it.
        if (!((other_key, other, figure, i) in value) || !((key, side, figure, i) in value))
            continue
        base = value[other_key, other, figure, i] + 0
        if (base > 0)
            list[++count] = value[key, side, figure, i] / base
    }
    if (!count)
        return 0
    summarize(list, count)
    return count
}

# The faster of the raw engines in this row, by their medians; "" if there is none.
function best_raw(key,    libaio) {
    libaio = measured(key, "libaio", "rate") ? median : 0
    if (measured(key, "io_uring", "rate") && median > libaio)
        return "io_uring"
    return libaio ? "libaio" : ""
}

# The best that any other side reached against other, in the direction of op (">=" or "<="): best and
# best_side. False: there is none.
function best_of_others(key, other, figure, op,    i) {
    best_side = ""
    for (i = 1; i <= sides; i++) {
        if (side_name[i] == "ours" || side_name[i] == other || !compared(key, side_name[i], key, other, figure))
            continue
        if (!best_side || (op == ">=" ? median > best : median < best)) {
            best = median
            best_side = side_name[i]
        }
    }
    return best_side != ""
}
