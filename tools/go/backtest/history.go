package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
)

// history is what was scraped. Series that rules made are hidden: the rules under test make them again.
type history struct {
	open   func(mint, maxt int64) (storage.Querier, error)
	hidden map[string]bool
	close  func()
}

func openHistory(request *Request, folder string) (*history, error) {
	past := &history{hidden: map[string]bool{"ALERTS": true, "ALERTS_FOR_STATE": true}, close: func() {}}
	if request.Prometheus != "" {
		return past, past.ofPrometheus(request.Prometheus)
	}
	return past, past.ofBlocks(request, folder)
}

func (h *history) ofPrometheus(address string) error {
	parsed, err := url.Parse(strings.TrimSuffix(address, "/") + "/api/v1/read")
	if err != nil {
		return err
	}
	client, err := remote.NewReadClient("history", &remote.ClientConfig{
		URL:              &config_util.URL{URL: parsed},
		Timeout:          model.Duration(time.Minute),
		ChunkedReadLimit: 64 << 20,
	})
	if err != nil {
		return err
	}
	h.open = remote.NewSampleAndChunkQueryableClient(client, labels.EmptyLabels(), nil, true, nil).Querier
	return nil
}

// ofBlocks opens blocks once: a read-only database would open all of them again for every query.
func (h *history) ofBlocks(request *Request, folder string) error {
	db, err := tsdb.OpenDBReadOnly(request.Blocks, folder, nil)
	if err != nil {
		return err
	}
	h.close = func() { db.Close() }
	blocks, err := db.Blocks()
	if err != nil {
		return err
	}
	if len(blocks) == 0 {
		return errors.New(request.Blocks + ": there is no block")
	}
	first, last := blocks[0].Meta().MinTime/1000, int64(0)
	for _, block := range blocks {
		last = max(last, (block.Meta().MaxTime-1)/1000) // its end is not in it
	}
	if request.Start == 0 {
		request.Start = first + request.WarmUp
	}
	if request.End == 0 {
		request.End = last
	}
	h.open = func(mint, maxt int64) (storage.Querier, error) {
		queriers := make([]storage.Querier, 0, len(blocks))
		for _, block := range blocks {
			querier, err := tsdb.NewBlockQuerier(block, mint, maxt)
			if err != nil {
				return nil, err
			}
			queriers = append(queriers, querier)
		}
		return storage.NewMergeQuerier(queriers, nil, storage.ChainedSeriesMerge), nil
	}
	return nil
}

func (h *history) hide(names []string) {
	for _, name := range names {
		h.hidden[name] = true
	}
}

// under lays a database over the history: what rules record goes there and is read from there.
func (h *history) under(overlay *tsdb.DB) storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		below, err := h.open(mint, maxt)
		if err != nil {
			return nil, err
		}
		above, err := overlay.Querier(mint, maxt)
		if err != nil {
			return nil, err
		}
		both := []storage.Querier{&hiding{below, h.hidden}, above}
		return storage.NewMergeQuerier(both, nil, storage.ChainedSeriesMerge), nil
	})
}

type hiding struct {
	storage.Querier
	names map[string]bool
}

func (h *hiding) Select(
	ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) storage.SeriesSet {
	for _, matcher := range matchers {
		if matcher.Name == labels.MetricName && matcher.Type == labels.MatchEqual {
			if h.names[matcher.Value] {
				return storage.EmptySeriesSet()
			}
			return h.Querier.Select(ctx, sorted, hints, matchers...)
		}
	}
	names := make([]string, 0, len(h.names))
	for name := range h.names {
		names = append(names, name)
	}
	others := labels.MustNewMatcher(labels.MatchNotRegexp, labels.MetricName, strings.Join(names, "|"))
	return h.Querier.Select(ctx, sorted, hints, append(matchers[:len(matchers):len(matchers)], others)...)
}
