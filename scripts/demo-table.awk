# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Reads the figures of scripts/demo (row,round,side,iops,p50,p99,requests,cpu,cpu per million) and
# prints one table of medians: both sides of each figure, and the median of the pairs' ratios.

function median(values, count,    i, j, held) {
    for (i = 2; i <= count; i++) {
        held = values[i]
        for (j = i - 1; j >= 1 && values[j] > held; j--)
            values[j + 1] = values[j]
        values[j + 1] = held
    }
    return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
}

function side_median(row, side, figure,    i) {
    for (i = 1; i <= rounds; i++)
        list[i] = value[row, i, side, figure] + 0
    return median(list, rounds)
}

function ratio_median(row, figure,    i, base) {
    for (i = 1; i <= rounds; i++) {
        base = value[row, i, "glibc", figure] + 0
        list[i] = base > 0 ? value[row, i, "ours", figure] / base : 0
    }
    return median(list, rounds)
}

function cell(row, figure, format) {
    return sprintf(" |" format format " %6.2f", side_median(row, "glibc", figure),
        side_median(row, "ours", figure), ratio_median(row, figure))
}

{
    if (!($1 in seen)) {
        seen[$1] = 1
        order[++rows] = $1
    }
    value[$1, $2, $3, "iops"] = $4
    value[$1, $2, $3, "p50"] = $5
    value[$1, $2, $3, "p99"] = $6
    value[$1, $2, $3, "cpu"] = $9
}

END {
    printf "%-27s | %-23s | %-23s | %-23s | %-23s\n", "", "IOPS", "p50 latency, us",
        "p99 latency, us", "CPU s / 10^6 requests"
    printf "%-27s", ""
    for (i = 1; i <= 4; i++)
        printf " | %7s %7s  %6s", "glibc", "ours", "ratio"
    printf "\n"
    for (i = 1; i <= rows; i++)
        printf "%-27s%s%s%s%s\n", order[i], cell(order[i], "iops", " %7.0f"), cell(order[i], "p50", " %7.0f"),
            cell(order[i], "p99", " %7.0f"), cell(order[i], "cpu", " %7.2f")
}
