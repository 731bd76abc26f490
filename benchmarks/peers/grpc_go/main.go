// Benchmark peer: the KeyValueBasic service over a map, on one scheduler thread.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	kv "prism-peer/gen/keyvalue"
)

type store struct {
	kv.UnimplementedKeyValueBasicInterfaceServer
	lock   sync.RWMutex
	values map[string][]byte
}

func (s *store) Set(_ context.Context, request *kv.SetRequest) (*kv.SetResponse, error) {
	s.lock.Lock()
	s.values[request.Key] = request.Value
	s.lock.Unlock()
	return &kv.SetResponse{Success: true}, nil
}

func (s *store) Get(_ context.Context, request *kv.GetRequest) (*kv.GetResponse, error) {
	s.lock.RLock()
	value, found := s.values[request.Key]
	s.lock.RUnlock()
	return &kv.GetResponse{Found: found, Value: value}, nil
}

func (s *store) Delete(_ context.Context, request *kv.DeleteRequest) (*kv.DeleteResponse, error) {
	s.lock.Lock()
	delete(s.values, request.Key)
	s.lock.Unlock()
	return &kv.DeleteResponse{Success: true}, nil
}

func (s *store) Exists(_ context.Context, request *kv.ExistsRequest) (*kv.ExistsResponse, error) {
	s.lock.RLock()
	_, found := s.values[request.Key]
	s.lock.RUnlock()
	return &kv.ExistsResponse{Exists: found}, nil
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	kv.RegisterKeyValueBasicInterfaceServer(server, &store{values: map[string][]byte{}})
	log.Fatal(server.Serve(listener))
}
